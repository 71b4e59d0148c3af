"""The original PyTorch program, timed beside ours. Entries: `check_clone`, `Original`.

It runs in its own process, eager or compiled, which makes a step on request: programs can take turns, and only this
file, run as a program, needs torch. The clone's models, losses, moving average and optimiser of puzzle embeddings are
used as they are. Its AdamATan2 needs CUDA; torch's fused AdamW, which reads and writes the same arrays, replaces it.
"""

import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trm.configuration.schema import Config
from trm.errors import InputError
from trm.model.recursions import unused_sizes
from trm.original.settings import settings_from_config
from trm.puzzles.loader import HostBatch
from trm.puzzles.metadata import Metadata


def check_clone(clone: Path) -> None:
    """Raise InputError for a directory that holds no original."""
    if not (clone / "models" / "losses.py").is_file():
        raise InputError(f"--against: found no models/losses.py in {clone}, expected a clone of the original")


class Original:
    """A process that runs the original on the batches of a training run, again and again."""

    def __init__(
        self,
        clone: Path,
        config: Config,
        metadata: Metadata,
        batches: Sequence[HostBatch],
        *,
        device: str,
        compiled: bool,
    ):
        size = config.train.global_batch_size
        # The original also requires the sizes that it does not use.
        settings = unused_sizes(config.model.recursion) | settings_from_config(config)
        settings |= {
            "batch_size": size,
            "seq_len": metadata.seq_len,
            "vocab_size": metadata.vocab_size,
            "num_puzzle_identifiers": metadata.num_puzzle_identifiers,
        }
        request = {
            "clone": str(clone),
            "recursion": config.model.recursion,
            "settings": settings,
            "loss_type": config.loss.type,
            "optimizer": vars(config.optimizer),
            "device": device,
            "compiled": compiled,
        }
        self._folder = tempfile.TemporaryDirectory()
        fields: dict[str, Any] = {
            name: np.stack([getattr(batch, name) for batch in batches]) for name in HostBatch._fields
        }
        np.savez(Path(self._folder.name) / "batches.npz", **fields)
        self._log = (Path(self._folder.name) / "log").open("w+")
        self._process = subprocess.Popen(
            [sys.executable, __file__, json.dumps(request), self._folder.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            # The cache of an earlier run would make this run's compilation look fast.
            env=os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(Path(self._folder.name) / "compiled")},
        )
        self.build_seconds = self._read()

    def step(self, name: str) -> float:
        """Take the next supervision step, "train" or "evaluate", and return its seconds."""
        assert self._process.stdin
        print(name, file=self._process.stdin, flush=True)
        return self._read()

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.wait()
        self._log.close()
        self._folder.cleanup()

    def _read(self) -> float:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            self._log.seek(0)
            lines = self._log.read().strip().splitlines() or [f"exit code {self._process.wait()}"]
            self.close()
            raise InputError(f"--against: the original failed: {lines[-1]}")
        return float(line)


# The process: all imports of torch and of the clone are below


class _Loop:
    """Training and evaluation as in the original's training script, one step per call."""

    def __init__(self, request: dict[str, Any], batches: dict[str, np.ndarray]):
        import torch

        # In place of this folder, whose modules have common names.
        sys.path[0] = request["clone"]
        torch.manual_seed(0)
        settings, rules, device = request["settings"], request["optimizer"], request["device"]
        module = importlib.import_module(f"models.recursive_reasoning.{request['recursion']}")
        head_class = importlib.import_module("models.losses").ACTLossHead
        rows = importlib.import_module("models.sparse_embedding")
        with torch.device(device):
            (model_class,) = (value for value in vars(module).values() if hasattr(value, "initial_carry"))
            head = head_class(model_class(settings), request["loss_type"])
        count = len(batches["inputs"])
        self.batches = [
            {name: torch.from_numpy(arrays[i]).to(device) for name, arrays in batches.items()} for i in range(count)
        ]
        self.size = settings["batch_size"]
        self.optimizers: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(
                head.parameters(),
                lr=rules["lr"],
                betas=(rules["beta1"], rules["beta2"]),
                weight_decay=rules["weight_decay"],
                fused=True,
            )
        ]
        if settings["puzzle_emb_ndim"]:
            sign_sgd = rows.CastedSparseEmbeddingSignSGD_Distributed
            self.optimizers.append(
                sign_sgd(
                    head.model.puzzle_emb.buffers(),
                    lr=rules["puzzle_emb_lr"],
                    weight_decay=rules["puzzle_emb_weight_decay"],
                    world_size=1,
                )
            )
        self.head: Any = torch.compile(head) if request["compiled"] else head
        self.average = None
        if rules["ema"]:
            self.average = importlib.import_module("models.ema").EMAHelper(rules["ema_rate"])
            self.average.register(self.head)
        self.device = device
        self.carries: dict[str, Any] = {}
        self.steps = 0

    def take(self, name: str) -> None:
        """Take a supervision step and wait for its end."""
        import torch

        batch = self.batches[self.steps % len(self.batches)]
        self.steps += 1
        training = name == "train"
        with torch.inference_mode(not training):
            self.head.train(training)
            if name not in self.carries:
                with torch.device(self.device):
                    self.carries[name] = self.head.initial_carry(batch)
            self.carries[name], loss, metrics, _, _ = self.head(
                carry=self.carries[name], batch=batch, return_keys=[] if training else ["preds"]
            )
        if training:
            (loss / self.size).backward()
            for optimizer in self.optimizers:
                optimizer.step()
                optimizer.zero_grad()
            if self.average:
                self.average.update(self.head)
        # Reading a result waits for the device.
        torch.stack([metric.double() for metric in metrics.values()]).tolist()


def _serve() -> None:
    request, folder = json.loads(sys.argv[1]), Path(sys.argv[2])
    # Only answers go to the pipe; the prints of the clone go to standard error.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    start = time.perf_counter()
    loop = _Loop(request, dict(np.load(folder / "batches.npz")))
    print(time.perf_counter() - start, file=answers, flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        loop.take(line.strip())
        print(time.perf_counter() - start, file=answers, flush=True)


if __name__ == "__main__":
    _serve()
