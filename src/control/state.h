// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <json-c/json.h>
#include <limits.h>
#include <stdbool.h>

#include "base/error.h"

/*
 * What is known of each VM on this host: a directory for each, named as the VM, in $KVMBOX_STATE if
 * that is set, or else in /run/kvmbox/vm, or for other users than root in
 * $XDG_RUNTIME_DIR/kvmbox/vm. In it:
 *
 *   lock            locked by the supervisor and the monitor for as long as one of them lives, by
 * an open file description lock (F_OFD_SETLK), which goes with the last descriptor state.json below
 *   control.sock    the control socket
 *   vsock.sock      leads to ports of the guest's; vsock.sock_PORT, which others make, from it
 *   output.log      what the workload wrote, with output.log.1 before it
 *   console.log     likewise for the serial console
 *
 * A directory whose lock can be taken is a dead VM's. One that is not complete does not have its
 * name yet, or not any more: names that begin with a dot are no VM's. So two commands at once never
 * see half of anything.
 */

/* A VM's directory, and its lock, which is held. */
struct state_dir {
	char path[PATH_MAX - 64];
	int lock_fd;
};

/*
 * Make the directory for a VM called @name, with @first, which is borrowed, as its state.json. One
 * that a dead VM has left with "auto_remove" goes first; any other is in the way. Returns 0, or
 * negative errno with the sentence in @err (-EEXIST: the name is taken; -ENAMETOOLONG: the path of
 * a socket in it would be longer than Linux takes).
 */
int state_create(struct state_dir *dir, const char *name, struct json_object *first,
		 struct error *err);

/* Replace state.json, all at once. Returns 0 or negative errno. */
int state_write(const struct state_dir *dir, struct json_object *state);

/* Remove the directory, whose lock is held, and let go of the lock. */
void state_remove_own(struct state_dir *dir);

/* Let go of the lock, and leave the directory: what a dead VM leaves. */
void state_close(struct state_dir *dir);

/* A VM as commands see it. */
struct state {
	char name[64];
	char path[PATH_MAX - 64]; /* its directory */
	int dir_fd;               /* likewise, whatever becomes of the name; -1 in a list */
	bool alive;               /* somebody holds the lock */
	struct json_object *json; /* state.json, an empty object if it cannot be read; owned */
};

/*
 * state.json is an object with these keys, where they are known:
 *
 *   name          string
 *   status        "starting", "running", "paused", "exited" or "failed": the last when kvmbox or
 *                 the guest failed, and not the workload. What is anything but the last two, and
 *                 not alive, has died without a word.
 *   pid           number: the supervisor
 *   monitor_pid   number
 *   directory     string: where it was started, which relative paths in "config" begin at
 *   detached      boolean
 *   auto_remove   boolean: nothing of it is to be kept when it has ended
 *   terminal      boolean: the workload has one
 *   created       number: seconds since 1970, with a fraction; likewise started, finished
 *   exit_status   number: kvmbox's exit status
 *   reason        string: as in the report of kvmbox boot --json
 *   error         string: a sentence
 *   jail          object, once the guest runs: "on" (boolean), "left_out" (array of strings: what
 *                 the host does not have for it) and, if there is one, "cgroup" (string: its
 *                 directory)
 *   nets          array: for each network card an object with, where there are any,
 *     interface   string: what it is attached to on the host
 *     table       string: the nftables table, of the family netdev, of the rules around it
 *   config        object: as kvmbox boot --config takes it
 */

/* The last word on how it is: as "status", but "died" for what has died without a word. */
const char *state_status(const struct state *s);

/*
 * Read the VM called @name. Returns 0, with *@s to be freed by state_deinit(); or negative errno
 * with the sentence in @err, which for -ENOENT names the VM that may have been meant.
 */
int state_read(struct state *s, const char *name, struct error *err);
void state_deinit(struct state *s);

/*
 * Look again at the VM that state_read() found, even if another has its name by now. Returns 0, or
 * with *@s as it was negative errno: -ENOENT when nothing is left of it.
 */
int state_refresh(struct state *s);

/*
 * All VMs, by the time of their creation; dead ones with "auto_remove" are removed instead. On
 * success the caller frees by state_list_free(). Returns 0 or negative errno with the sentence.
 */
int state_list(struct state **list, size_t *n, struct error *err);
void state_list_free(struct state *list, size_t n);

/*
 * Remove what the dead VM @name has left. Returns 0, or negative errno with the sentence in @err
 * (-EBUSY: it is alive).
 */
int state_remove(const char *name, struct error *err);
