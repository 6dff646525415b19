-- What a month's retention costs on a table of ten million merged rows of audio, and what it would if each month were a
-- partition. Rows as `manage.py merge_audio` leaves them, but with 16 bytes of payload instead of 80,000, which lie in
-- the TOAST table, and 64 of peaks instead of 500. Makes tables of its own, of 3 GB, in a database that is migrated:
--
--   psql --file tests/trials/partitions.sql postgres://postgres@127.0.0.1:5432/callstream_growth

\set ON_ERROR_STOP on
\pset footer off
SET synchronous_commit = off;
DROP TABLE IF EXISTS plain, monthly;
CREATE TABLE plain (LIKE calls_audiochunk INCLUDING ALL);
ALTER TABLE plain SET (autovacuum_enabled = off);

-- A call of a minute has 12 rows; 833,334 of them in twelve months.
CREATE OR REPLACE PROCEDURE fill(target regclass, first int, last int) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format(
        'INSERT INTO %s (stream_id, track, "index", start, length, payload, peaks)
         SELECT stream, lane, piece, piece * 80000, 80000, decode(md5(stream::text), ''hex''), repeat(''~'', 64)::bytea
         FROM generate_series($1, $2) stream, unnest(ARRAY[''inbound'', ''outbound'']) lane, generate_series(0, 5) piece',
        target) USING first, last;
END $$;
\timing on
\echo '--- ten million rows'
CALL fill('plain', 1, 833334);
VACUUM (ANALYZE) plain;
SELECT pg_size_pretty(pg_relation_size('plain')) AS rows, pg_size_pretty(pg_indexes_size('plain')) AS indexes;
\echo '--- erase the oldest month, in slices of 1000 as retention does'
DO $$
BEGIN
    FOR stream IN 1..69445 BY 84 LOOP
        DELETE FROM plain WHERE stream_id BETWEEN stream AND LEAST(stream + 83, 69445);
        COMMIT;
    END LOOP;
END $$;
\echo '--- and vacuum'
VACUUM (VERBOSE) plain;
\echo '--- a new month takes the room of the old one'
CALL fill('plain', 833335, 902779);
SELECT pg_size_pretty(pg_relation_size('plain')) AS rows, pg_size_pretty(pg_indexes_size('plain')) AS indexes;
\echo '--- the read of ten seconds'
EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, TIMING OFF)
SELECT payload FROM plain WHERE stream_id = 500000 AND track = 'inbound' AND start > 120000 AND start < 280000;

\echo '--- the same month as a partition'
\timing off
CREATE TABLE monthly (LIKE plain INCLUDING DEFAULTS) PARTITION BY RANGE (stream_id);
CREATE TABLE month_1 (LIKE plain INCLUDING ALL);
CALL fill('month_1', 1, 69445);
ALTER TABLE monthly ATTACH PARTITION month_1 FOR VALUES FROM (1) TO (69446);
\timing on
DROP TABLE month_1;
\timing off
DROP TABLE plain, monthly;
DROP PROCEDURE fill;
