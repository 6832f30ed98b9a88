"""A machine as ECS gives it to a task: credentials at http://169.254.170.2, which no other machine here may have.

    unshare -n python3 ecs_machine.py SETTINGS.json COMMAND...

runs COMMAND in a network of its own that holds that address, and 127.0.0.1:PORT as a way out to one server: `port` of
the settings, through the Unix socket `way_out`, where Relay listens on the other side. `keys` are what the service
gives, `path` is where, `log` gets how often.
"""

import json
import os
import socket
import subprocess
import sys
import threading

from aws_services import ContainerService
from s3_client import Keys

ADDRESS = "169.254.170.2"


def pump(source, target):
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


class Relay:
    """Every connection to `listener` goes on to `address`, of either family."""

    def __init__(self, listener, address):
        self._listener, self._address = listener, address
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self):
        self._listener.listen(64)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self):
        family = socket.AF_UNIX if isinstance(self._address, str) else socket.AF_INET
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.socket(family)
            far.connect(self._address)
            for pair in ((near, far), (far, near)):
                threading.Thread(target=pump, args=pair, daemon=True).start()


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        settings = json.load(file)
    for words in (["link", "set", "lo", "up"], ["addr", "add", ADDRESS + "/32", "dev", "lo"]):
        subprocess.run(["ip", *words], check=True)
    listener = socket.create_server(("127.0.0.1", settings["port"]))
    service = ContainerService(None, settings["path"], keys=Keys(*settings["keys"]), address=(ADDRESS, 80))
    with service, Relay(listener, settings["way_out"]):
        code = subprocess.run(sys.argv[2:], check=False).returncode
        with open(settings["log"], "a", encoding="ascii") as log:
            log.write(f"{service.given()}\n")
    return code


if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    sys.exit(main())
