"""tf.data service: its dispatcher and one worker, in a process of their own."""

from __future__ import annotations

import tensorflow as tf


def main() -> None:
    service = tf.data.experimental.service
    dispatcher = service.DispatchServer(service.DispatcherConfig(port=0))
    worker = service.WorkerServer(service.WorkerConfig(dispatcher_address=dispatcher.target.split("://")[1]))
    print(f"serving on {dispatcher.target}", flush=True)
    worker.join()


if __name__ == "__main__":
    main()
