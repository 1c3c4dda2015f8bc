CREATE TABLE assignment (
    person TEXT NOT NULL,
    clip INTEGER NOT NULL,
    state TEXT NOT NULL,
    revision INTEGER NOT NULL,
    PRIMARY KEY (person, clip)
);

CREATE TABLE choice (
    clip INTEGER NOT NULL,
    id TEXT NOT NULL,
    expression TEXT NOT NULL,
    person TEXT NOT NULL,
    stage TEXT NOT NULL,
    frame TEXT NOT NULL,
    answer JSON NOT NULL,
    candidates JSON NOT NULL,
    seconds FLOAT,
    text TEXT NOT NULL,
    at TEXT NOT NULL,
    revision INTEGER NOT NULL,
    PRIMARY KEY (clip, id)
);

CREATE TABLE clip (
    "key" INTEGER NOT NULL,
    id TEXT NOT NULL,
    title TEXT NOT NULL,
    n_frames INTEGER NOT NULL,
    height INTEGER NOT NULL,
    width INTEGER NOT NULL,
    fps FLOAT,
    source JSON NOT NULL,
    state TEXT NOT NULL,
    has_void BOOLEAN NOT NULL,
    created_at TEXT NOT NULL,
    revision INTEGER NOT NULL,
    PRIMARY KEY ("key"),
    UNIQUE (id)
);

CREATE TABLE comment (
    clip INTEGER NOT NULL,
    id TEXT NOT NULL,
    about JSON NOT NULL,
    person TEXT NOT NULL,
    text TEXT NOT NULL,
    at TEXT NOT NULL,
    resolved BOOLEAN NOT NULL,
    revision INTEGER NOT NULL,
    PRIMARY KEY (clip, id)
);

CREATE TABLE counter (
    clip INTEGER NOT NULL,
    kind TEXT NOT NULL,
    next INTEGER NOT NULL,
    PRIMARY KEY (clip, kind)
);

CREATE TABLE credential (
    hash TEXT NOT NULL,
    person TEXT NOT NULL,
    kind TEXT NOT NULL,
    created_at TEXT NOT NULL,
    expires_at FLOAT NOT NULL,
    seen_at FLOAT NOT NULL,
    PRIMARY KEY (hash)
);

CREATE TABLE expression (
    clip INTEGER NOT NULL,
    id TEXT NOT NULL,
    layout_id TEXT NOT NULL,
    text TEXT NOT NULL,
    object_ids JSON,
    kind TEXT NOT NULL,
    tags JSON NOT NULL,
    is_sentence BOOLEAN,
    condition TEXT,
    rationale TEXT NOT NULL,
    "group" TEXT,
    state TEXT NOT NULL,
    origin TEXT NOT NULL,
    author TEXT NOT NULL,
    model TEXT NOT NULL,
    accepted_by TEXT NOT NULL,
    accepted_at TEXT NOT NULL,
    created_at TEXT NOT NULL,
    modified_at TEXT NOT NULL,
    properties JSON NOT NULL,
    revision INTEGER NOT NULL,
    PRIMARY KEY (clip, id)
);

CREATE TABLE frames (
    clip INTEGER NOT NULL,
    list JSON NOT NULL,
    revision INTEGER NOT NULL,
    PRIMARY KEY (clip)
);

CREATE TABLE journal (
    seq INTEGER NOT NULL,
    at TEXT NOT NULL,
    person TEXT NOT NULL,
    tab TEXT NOT NULL,
    clip INTEGER,
    kind TEXT NOT NULL,
    label TEXT NOT NULL,
    batch TEXT,
    steps JSON NOT NULL,
    touched JSON NOT NULL,
    content BLOB NOT NULL,
    PRIMARY KEY (seq)
);

CREATE INDEX journal_clip ON journal (clip, seq);

CREATE INDEX journal_steps ON journal (person, clip, seq);

CREATE TABLE mask (
    clip INTEGER NOT NULL,
    frame INTEGER NOT NULL,
    object TEXT NOT NULL,
    counts TEXT NOT NULL,
    origin TEXT NOT NULL,
    "by" TEXT NOT NULL,
    model TEXT NOT NULL,
    reviewed BOOLEAN NOT NULL,
    revision INTEGER NOT NULL,
    absent BOOLEAN NOT NULL,
    PRIMARY KEY (clip, frame, object),
    CHECK (absent = (counts = ''))
)
 WITHOUT ROWID;

CREATE INDEX mask_tracks ON mask (clip, object, frame, origin, absent, reviewed, "by", model);

CREATE TABLE object (
    clip INTEGER NOT NULL,
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    category TEXT NOT NULL,
    colour TEXT NOT NULL,
    note TEXT NOT NULL,
    author TEXT NOT NULL,
    second_of TEXT,
    role TEXT NOT NULL,
    stated_ids JSON,
    revision INTEGER NOT NULL,
    PRIMARY KEY (clip, id)
);

CREATE TABLE person (
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    created_at TEXT NOT NULL,
    revoked BOOLEAN NOT NULL,
    revision INTEGER NOT NULL,
    PRIMARY KEY (id)
);

CREATE TABLE project (
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    split TEXT NOT NULL,
    title TEXT NOT NULL,
    description TEXT NOT NULL,
    annotations_licence TEXT NOT NULL,
    created_at TEXT NOT NULL,
    revision INTEGER NOT NULL,
    PRIMARY KEY (id)
);

CREATE TABLE secret (
    name TEXT NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (name)
);

CREATE TABLE verdict (
    clip INTEGER NOT NULL,
    id TEXT NOT NULL,
    about JSON NOT NULL,
    person TEXT NOT NULL,
    decision TEXT NOT NULL,
    comment TEXT NOT NULL,
    at TEXT NOT NULL,
    judged_revision INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    PRIMARY KEY (clip, id)
);

CREATE TRIGGER journal_never_update BEFORE UPDATE ON journal
BEGIN SELECT RAISE(ABORT, 'the journal is only added to'); END;

CREATE TRIGGER journal_never_delete BEFORE DELETE ON journal
BEGIN SELECT RAISE(ABORT, 'the journal is only added to'); END;
