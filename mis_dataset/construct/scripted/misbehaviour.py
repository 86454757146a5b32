"""How the scripted endpoint misbehaves, by plan: which requests go wrong, and in what way.

What a model says amiss (malformed, refused) hangs on the request alone: it says so again whenever it is asked. What
can pass (a full queue, an error, silence, a connection that breaks) meets the first try alone. So a construction that
was killed and gone on with ends with the same rows as one that was not.
"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field

from mis_dataset.construct.scripted.player import share_of

SAID = ("malformed", "refused")
"""Ways that hang on the request alone."""
PASSING = ("busy", "error", "hang", "cut")
"""Ways that meet the first try of a request: 429 with Retry-After, 500, no reply at all, a reply that is cut off."""
KINDS = (*SAID, *PASSING)


@dataclass
class Misbehaviour:
    """The plan.

    Attributes:
        share: of requests that go wrong, 0 to 1.
        kinds: of `KINDS`, each as often as the others.
        seed: another one meets other requests.
    """

    share: float = 0.0
    kinds: tuple[str, ...] = KINDS
    seed: int = 0
    _tried: set[bytes] = field(default_factory=set, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def of(self, body: bytes) -> str:
        """How a request goes wrong; empty where it does not."""
        digest = hashlib.sha256(body).digest()
        with self._lock:
            first = digest not in self._tried
            self._tried.add(digest)
        drawn = share_of(f"{self.seed}/{digest.hex()}")
        if drawn >= self.share or not self.kinds:
            return ""
        kind = self.kinds[int(drawn / self.share * len(self.kinds))]
        return kind if kind in SAID or first else ""
