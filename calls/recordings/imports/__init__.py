"""An exported call (`calls.recordings.export`) as rows of this installation.

What comes back is what was exported, to the sample and the microsecond, but for what belongs to an installation:

* primary keys, and the nonces of the tokens, are new ones;
* users are none of ours: who did something is empty, and a comment keeps its author's name;
* who listened to it is on record where they did, and is no evidence here;
* audio is sealed with our keys if we have any (RECORDING_KEYS), and its waveform is drawn anew;
* nobody is told of the call by a webhook: it is no news (`Call.told`); and nobody is at work on it;
* keys that callers pressed are masked where MASK_DTMF says so;
* one event of the kind `import` more, with where it comes from.

Reviews, legal holds and webhooks that were sent stay where they are. Turns that an export lacks (version 1) are found
anew in the audio, and so are the figures; the times of version 1 have milliseconds.
"""

from calls.recordings.imports.errors import Unimportable as Unimportable
from calls.recordings.imports.rows import Imported as Imported
from calls.recordings.imports.rows import bring_in as bring_in
from calls.recordings.imports.sources import Parcel as Parcel
from calls.recordings.imports.sources import parcels as parcels
