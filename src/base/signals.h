// SPDX-License-Identifier: Apache-2.0
#pragma once

/*
 * Have the signals by which a user or a terminal steers a command (INT, TERM, HUP, QUIT, WINCH)
 * read from a descriptor and not act by themselves, and ignore SIGPIPE. Returns the descriptor, a
 * non-blocking signalfd, or -1 with errno.
 */
int signals_watch(void);
