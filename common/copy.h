/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tree of files as ENTRY, DATA and END frames of kvmbox/agent.h, sent and
 * received. Both host and guest compile this, so it needs nothing but the C
 * library. Frames go as common/frame.h has it, with timeout_ms as there.
 */
#ifndef KVMBOX_COMMON_COPY_H
#define KVMBOX_COMMON_COPY_H

#include <stdbool.h>

/* What went wrong, one sentence without control characters. */
struct copy_error {
	bool from_peer; /* text is the peer's ERROR: hostile, not checked for UTF-8 */
	char text[1024];
};

#define COPY_FOLLOW 1u /* sender: if the path is a symbolic link, what it leads to */

/*
 * Sender: owners as they are here; without it all is sent as root's. Receiver:
 * owners as they were sent, for which it must be root; without it, all is the
 * caller's. Without it both leave out the set-user-ID and set-group-ID bits.
 */
#define COPY_OWNERS 2u

#define COPY_INTO 4u /* receiver: the tree becomes dest, also if that is a directory */

/*
 * Sends path and all below it, and END. The entries' names begin with name, or
 * if that is NULL, with the path's last component. What is neither a file nor a
 * directory nor a symbolic link is left out, unless it is the path itself. A
 * file that grows meanwhile is sent in the size that it had.
 *
 * Returns 0; or a negative errno with the sentence in *why (-ETIMEDOUT: of the
 * peer, nothing has come or gone for so long), and then the stream is of use for an ERROR only if
 * the peer has not sent one (from_peer). An ERROR of the peer is looked for all the time.
 */
int copy_send(int sock, int timeout_ms, const char *path, const char *name, unsigned int flags,
	      struct copy_error *why);

/*
 * The sender of a PUT awaits the receiver's END. Returns 0; or a negative errno
 * with the sentence in *why.
 */
int copy_await(int sock, int timeout_ms, struct copy_error *why);

/*
 * Receives one tree up to its END. If dest is a directory the tree goes into it
 * by its own name, unless COPY_INTO is asked for; else it becomes dest. Symbolic links in dest are
 * followed; below it none is, whatever the peer sends. With expect, the tree must be of that name,
 * so that a peer that was asked for one cannot write another.
 *
 * A file or symbolic link replaces whatever is there but a directory; a
 * directory that is there is kept as it is, and gets more entries. Directories
 * get their mode and time when what is in them is there.
 *
 * Returns 0; or a negative errno with the sentence in *why, and then what was
 * received so far is left there.
 */
int copy_receive(int sock, int timeout_ms, const char *dest, const char *expect, unsigned int flags,
		 struct copy_error *why);

#endif
