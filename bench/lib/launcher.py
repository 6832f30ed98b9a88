"""Runs pipelines and says how long they took and how much memory each process had at most.

A process of its own because of that last figure: the peak of a child counts from before its exec,
when it still was a copy of its parent. So whoever starts what is measured must be small, and the
harness is not: it holds lists of all files. Imports are few for the same reason.

Each line of standard input is a request, each line of standard output its answer:
  {"pipeline": [[word, ...], ...], "env": {...}, "cwd": DIR, "stdout": FILE, "stderr": FILE}
  {"seconds": 1.5, "statuses": [0, ...], "peak_bytes": [12345, ...]}
"""

import json
import os
import subprocess
import sys
import time


def run(request):
    processes = []
    with open(request["stdout"], "wb") as stdout, open(request["stderr"], "wb") as stderr:
        started = time.monotonic()
        feed = subprocess.DEVNULL
        for index, words in enumerate(request["pipeline"]):
            last = index == len(request["pipeline"]) - 1
            process = subprocess.Popen(words, env=request["env"], cwd=request["cwd"], stdin=feed,
                                       stdout=stdout if last else subprocess.PIPE, stderr=stderr)
            if feed is not subprocess.DEVNULL:
                feed.close()  # else the writer would never learn that its reader has ended
            feed = process.stdout
            processes.append(process)
        statuses, peaks = [], []
        for process in processes:
            # Not process.wait(), which throws the resource usage away.
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            statuses.append(process.returncode)
            peaks.append(usage.ru_maxrss * 1024)
        seconds = time.monotonic() - started
    return {"seconds": seconds, "statuses": statuses, "peak_bytes": peaks}


def main():
    for line in sys.stdin:
        try:
            answer = run(json.loads(line))
        except OSError as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass  # the harness says it
