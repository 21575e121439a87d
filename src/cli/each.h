// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/error.h"
#include "cli/args.h"
#include "control/state.h"

/*
 * Do something for each VM that is named behind the options. @fn returns 0, and the name is printed
 * if @print; or negative errno with the sentence in @err, which is written, and it goes on with the
 * others. @s is what is known of the VM, and freed afterwards. Returns the exit status.
 */
typedef int each_fn(struct state *s, void *ctx, struct error *err);
int each_vm(const struct args *a, each_fn *fn, void *ctx, bool print);

/*
 * Wait until the VM has ended, all of it, and @s is refreshed. Returns its exit status, or -1 where
 * that is not known.
 */
int await_end(struct state *s);
