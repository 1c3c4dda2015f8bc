CREATE TABLE clip_2 (
    "key" INTEGER NOT NULL,
    id TEXT NOT NULL,
    title TEXT NOT NULL,
    n_frames INTEGER NOT NULL,
    height INTEGER,
    width INTEGER,
    frame_height INTEGER,
    frame_width INTEGER,
    fps FLOAT,
    source JSON NOT NULL,
    state TEXT NOT NULL,
    has_void BOOLEAN NOT NULL,
    created_at TEXT NOT NULL,
    revision INTEGER NOT NULL,
    PRIMARY KEY ("key"),
    UNIQUE (id)
);

INSERT INTO clip_2
SELECT "key", id, title, n_frames, height, width, NULL, NULL, fps, source, state, has_void, created_at, revision
FROM clip;

DROP TABLE clip;

ALTER TABLE clip_2 RENAME TO clip;
