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

/*
 * Do something for the VM called @name. Returns what @fn returns: a negative errno's sentence has
 * been written then.
 */
int one_vm(const char *name, each_fn *fn, void *ctx);

/*
 * Begin to end the VM in order: its workload has @timeout_s seconds. Returns 0, also when it has
 * ended by itself, or negative errno with the sentence.
 */
int ask_end(struct state *s, long timeout_s, struct error *err);

/*
 * Wait until the VM has ended, all of it, and @s is refreshed. Returns its exit status, or -1 where
 * that is not known.
 */
int await_end(struct state *s);

/*
 * Wait until the VM, which has been told to end, has done so: for @grace_s seconds and as long as
 * an end may take. Returns 0, or -ETIMEDOUT with the sentence.
 */
int await_told_end(struct state *s, long grace_s, struct error *err);
