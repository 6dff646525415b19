"""Keys, and audio sealed with them. Knows no models: whoever stores something sealed keeps its key beside it, wrapped.

Each stream has a data key of its own, made where it begins, even without a database. It is wrapped by the first key of
RECORDING_KEYS and stored as `Stream.sealing_key`; the others of RECORDING_KEYS still unwrap what they have wrapped.
Everything is AES-256-GCM (NIST SP 800-38D) with a fresh random nonce of 96 bits. While RECORDING_KEYS is empty nothing
is sealed, and what was sealed before cannot be read.
"""

from calls.vault.boxes import rewrap_box as rewrap_box
from calls.vault.boxes import shut as shut
from calls.vault.boxes import unshut as unshut
from calls.vault.boxes import wrapping_key as wrapping_key
from calls.vault.errors import KeyMissing as KeyMissing
from calls.vault.errors import NotAKey as NotAKey
from calls.vault.errors import Tampered as Tampered
from calls.vault.errors import Unreadable as Unreadable
from calls.vault.keyring import is_on as is_on
from calls.vault.keyring import names as names
from calls.vault.keyring import read_keys as read_keys
from calls.vault.streams import OVERHEAD as OVERHEAD
from calls.vault.streams import PARTLY as PARTLY
from calls.vault.streams import begin_sealing as begin_sealing
from calls.vault.streams import check_key as check_key
from calls.vault.streams import end_sealing as end_sealing
from calls.vault.streams import is_being_sealed as is_being_sealed
from calls.vault.streams import new_key as new_key
from calls.vault.streams import open_row as open_row
from calls.vault.streams import rewrap as rewrap
from calls.vault.streams import seal as seal
