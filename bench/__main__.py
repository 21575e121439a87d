# SPDX-License-Identifier: Apache-2.0
"""kvmbox bench: what src/cli/bench.c runs, with the arguments behind "bench"."""
import getopt
import os
import sys
import traceback

import compare
import page
import results
import run
from engines.base import Failure
from results import say
from run import Usage

FAILED = 125  # kvmbox's own exit status for a failure of its own

COMPARE_HELP = """\
Usage: kvmbox bench compare [OPTION]... A.json B.json

Tell what is worse in B than in A, beyond the spread of both, and what differs in
the machines and the method.

      --workload NAME  compare this workload only; repeatable
      --engine NAME    compare this engine only; repeatable
  -h, --help           show this help

Exit status: 0 if nothing is worse, 1 if something is, 2 if that cannot be told of
these two, 125 for bad usage or a file that cannot be read.

More: man kvmbox-bench
"""

REPORT_HELP = """\
Usage: kvmbox bench report RESULTS.json -o PAGE.html

Write a page about results: what they answer, plots, the method, and all figures.

  -o, --output FILE  where to; - is standard output
  -h, --help         show this help

More: man kvmbox-bench
"""


def parse(argv, command, text, shorts, longs):
    """The options, as a list of (name, value), and the words; None where the help was asked for."""
    try:
        options, rest = getopt.gnu_getopt(argv, f"h{shorts}", ["help", *longs])
    except getopt.GetoptError as error:
        raise Usage(f"{command}: {error.msg}; see kvmbox bench {command} --help") from None
    if any(name in ("-h", "--help") for name, _ in options):
        sys.stdout.write(text)
        return None
    return options, rest


def check_known(kind, names, files):
    known = sorted({each["name"] for file in files for each in file[f"{kind}s"]})
    for name in names:
        if name not in known:
            raise Usage(f"compare: there is no {kind} \"{name}\" in these results, which have {', '.join(known)}")


def run_compare(argv):
    parsed = parse(argv, "compare", COMPARE_HELP, "", ["workload=", "engine="])
    if not parsed:
        return 0
    options, files = parsed
    if len(files) != 2:
        raise Usage("compare takes two files of results; see kvmbox bench compare --help")
    a, b = map(results.load, files)
    workloads = [value for name, value in options if name == "--workload"]
    engines = [value for name, value in options if name == "--engine"]
    check_known("workload", workloads, (a, b))
    check_known("engine", engines, (a, b))
    found = compare.compare(a, b, workloads, engines)
    compare.print_comparison(found, a, b, sys.stdout)
    return found.status


def run_report(argv):
    parsed = parse(argv, "report", REPORT_HELP, "o:", ["output="])
    if not parsed:
        return 0
    options, files = parsed
    if len(files) != 1:
        raise Usage("report takes one file of results; see kvmbox bench report --help")
    if not options:
        raise Usage("report: -o is missing: where to write the page")
    output = options[-1][1]
    if os.path.realpath(output) == os.path.realpath(files[0]):
        raise Usage(f"report: {output} holds the results themselves: name another file with -o")
    text = page.page(results.load(files[0]))
    if output == "-":
        sys.stdout.write(text)
    else:
        results.write(output, text)
    return 0


COMMANDS = {"compare": run_compare, "report": run_report}


def run_all(argv):
    try:
        options, rest = getopt.gnu_getopt(argv, "ho:", ["help", *run.LONGS])
    except getopt.GetoptError as error:
        raise Usage(f"{error.msg}; see kvmbox bench --help") from None
    if any(name in ("-h", "--help") for name, _ in options):
        sys.stdout.write(run.HELP)
        return 0
    if rest:
        raise Usage(f"unknown command \"{rest[0]}\"; see kvmbox bench --help")
    return run.run(run.Options(options), argv)


def command(argv):
    if argv and argv[0] in COMMANDS:
        return COMMANDS[argv[0]](argv[1:])
    return run_all(argv)


def main(argv):
    try:
        status = command(argv)
        sys.stdout.flush()
        return status
    except (results.Problem, Failure) as problem:
        say(str(problem))
    except OSError as error:
        # So that the interpreter does not try once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            say(f"{f'cannot use {error.filename}' if error.filename else 'cannot write to standard output'}: {error.strerror}")
    except KeyboardInterrupt:
        say("interrupted")
    except Exception as error:  # whose own exit status would have a meaning that it does not have
        traceback.print_exc()
        say(f"this is a fault of kvmbox bench itself: {error}")
    return FAILED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
