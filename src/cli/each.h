// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/error.h"
#include "cli/args.h"
#include "control/state.h"

/*
 * Do something for each VM that is named behind the options: @first for all of them, and then
 * @then, which may be NULL, for those where that went well. Each returns 0, or negative errno with
 * the sentence in @err, which is written, and it goes on with the others. Where all went well the
 * name is printed if @print. @s is what is known of the VM, and freed afterwards. Returns the exit
 * status.
 */
typedef int each_fn(struct state *s, void *ctx, struct error *err);
int each_vm(const struct args *a, each_fn *first, each_fn *then, void *ctx, bool print);

/* To be such a function: await_end(). */
int each_await_end(struct state *s, void *ctx, struct error *err);

/*
 * Wait until the VM has ended, all of it, and @s is refreshed. Returns its exit status, or -1 where
 * that is not known.
 */
int await_end(struct state *s);
