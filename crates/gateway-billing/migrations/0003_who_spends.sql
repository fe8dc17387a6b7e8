-- Who spends and how much they may: teams, users, plans, budgets; sums for reports; and what hands out credit.

ALTER TABLE org ADD COLUMN plan TEXT NOT NULL DEFAULT 'default';
ALTER TABLE org ADD COLUMN tz TEXT NOT NULL DEFAULT 'UTC';

CREATE TABLE team(
  id BLOB PRIMARY KEY,
  org BLOB NOT NULL REFERENCES org,
  name TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  UNIQUE(org, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE user(
  id BLOB PRIMARY KEY,
  org BLOB NOT NULL REFERENCES org,
  team BLOB REFERENCES team,             -- NULL: in no team
  name TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  UNIQUE(org, name)
) STRICT, WITHOUT ROWID;

-- Set when a key is made and never changed, so that what a key has spent stays with its team and user.
ALTER TABLE api_key ADD COLUMN team BLOB REFERENCES team;
ALTER TABLE api_key ADD COLUMN user BLOB REFERENCES user;

-- What a failed attempt cost; NULL is the wallet's currency.
ALTER TABLE attempt ADD COLUMN cost_currency TEXT;

-- The caller's own name for the person behind a request.
ALTER TABLE hold ADD COLUMN tag TEXT;

CREATE TABLE budget(
  id INTEGER PRIMARY KEY,
  org BLOB NOT NULL REFERENCES org,
  name TEXT NOT NULL,
  currency TEXT NOT NULL,
  scope TEXT NOT NULL CHECK(scope IN ('org', 'team', 'user', 'key', 'tag')),
  scope_id TEXT NOT NULL,                -- an id, a tag, or '*': each of them for itself
  model TEXT,                            -- only what this public model serves
  provider TEXT,                         -- only what this provider serves
  cap INTEGER NOT NULL CHECK(cap >= 0),
  hard INTEGER NOT NULL,                 -- 0 = tells only
  period TEXT NOT NULL,                  -- JSON
  alerts TEXT NOT NULL,                  -- JSON array of percents
  created_at INTEGER NOT NULL,
  ended_at INTEGER,
  UNIQUE(org, name)
) STRICT;

-- One row per budget, subject (the tag or id, where the budget is for each) and period, made when it is first needed.
CREATE TABLE budget_period(
  budget INTEGER NOT NULL REFERENCES budget,
  subject TEXT NOT NULL,
  start_at INTEGER NOT NULL,
  end_at INTEGER NOT NULL,
  cap INTEGER NOT NULL,
  hard INTEGER NOT NULL,
  spent INTEGER NOT NULL DEFAULT 0,
  held INTEGER NOT NULL DEFAULT 0,
  overrun INTEGER NOT NULL DEFAULT 0,    -- what was spent above the cap because an answer cost more than was held for it
  alerted INTEGER NOT NULL DEFAULT 0,    -- the highest percent told of
  PRIMARY KEY(budget, subject, start_at),
  CHECK(end_at > start_at),
  CHECK(spent >= 0 AND held >= 0 AND overrun >= 0),
  CHECK(hard = 0 OR spent + held <= cap + overrun)
) STRICT, WITHOUT ROWID;

-- Sums of settlements per quarter of an hour of their posting, kept by the commit that posts them. They can be made anew
-- from the settlements at any time and are never a source of truth.
CREATE TABLE rollup(
  wallet INTEGER NOT NULL,
  quarter INTEGER NOT NULL,              -- quarters of an hour since 1970, UTC
  served INTEGER NOT NULL,
  api_key BLOB NOT NULL,
  cost_currency TEXT NOT NULL,
  requests INTEGER NOT NULL,
  tokens_in INTEGER NOT NULL,            -- all of them, those below included
  tokens_out INTEGER NOT NULL,
  cache_read INTEGER NOT NULL,
  cache_write INTEGER NOT NULL,
  reasoning INTEGER NOT NULL,
  charge INTEGER NOT NULL,
  written_off INTEGER NOT NULL,
  cost INTEGER NOT NULL,
  PRIMARY KEY(wallet, quarter, served, api_key, cost_currency)
) STRICT, WITHOUT ROWID;

-- The same for requests with a tag.
CREATE TABLE rollup_tag(
  wallet INTEGER NOT NULL,
  quarter INTEGER NOT NULL,
  tag TEXT NOT NULL,
  served INTEGER NOT NULL,
  requests INTEGER NOT NULL,
  tokens_in INTEGER NOT NULL,
  tokens_out INTEGER NOT NULL,
  charge INTEGER NOT NULL,
  written_off INTEGER NOT NULL,
  PRIMARY KEY(wallet, quarter, tag, served)
) STRICT, WITHOUT ROWID;

INSERT INTO rollup
SELECT s.wallet, t.at / 900000000, s.served, h.api_key, w.currency, SUM(s.seq = 0), SUM(s.tokens_in), SUM(s.tokens_out),
  SUM((SELECT COALESCE(SUM(value), 0) FROM json_each(CAST(s.leaves AS TEXT)) WHERE key LIKE 'tok.in%.cache_read')),
  SUM((SELECT COALESCE(SUM(value), 0) FROM json_each(CAST(s.leaves AS TEXT)) WHERE key LIKE 'tok.in%.cache_write%')),
  SUM((SELECT COALESCE(SUM(value), 0) FROM json_each(CAST(s.leaves AS TEXT)) WHERE key LIKE 'tok.out%.reasoning')),
  SUM(s.charge), SUM(s.written_off), SUM(s.cost)
FROM settlement s JOIN txn t ON t.id = s.txn JOIN hold h ON h.id = s.hold JOIN wallet w ON w.id = s.wallet
GROUP BY s.wallet, t.at / 900000000, s.served, h.api_key, w.currency;

-- What a lot lost by reaching its date.
CREATE TABLE lot_expiry(
  lot BLOB NOT NULL REFERENCES lot,
  txn INTEGER NOT NULL REFERENCES txn,
  amount INTEGER NOT NULL CHECK(amount > 0),
  PRIMARY KEY(lot, txn)
) STRICT, WITHOUT ROWID;

CREATE TABLE campaign(
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  amount INTEGER NOT NULL CHECK(amount > 0),
  valid_days INTEGER,                    -- of each grant; NULL = it never expires
  grants_max INTEGER,
  grants_made INTEGER NOT NULL DEFAULT 0,
  starts_at INTEGER NOT NULL,
  ends_at INTEGER,
  created_at INTEGER NOT NULL,
  CHECK(grants_max IS NULL OR grants_made <= grants_max)
) STRICT;

CREATE TABLE grant_log(
  campaign INTEGER NOT NULL REFERENCES campaign,
  subject TEXT NOT NULL,                 -- whoever may have it once: an account's id, or an identity that the operator has verified
  org BLOB NOT NULL REFERENCES org,
  lot BLOB NOT NULL REFERENCES lot,
  at INTEGER NOT NULL,
  PRIMARY KEY(campaign, subject)
) STRICT, WITHOUT ROWID;

CREATE TABLE code_batch(
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  amount INTEGER NOT NULL CHECK(amount > 0),
  class TEXT NOT NULL CHECK(class IN ('promo', 'paid')),
  valid_days INTEGER,
  created_at INTEGER NOT NULL,
  created_by TEXT NOT NULL
) STRICT;

CREATE TABLE code(
  hash BLOB PRIMARY KEY,                 -- HMAC-SHA-256 of the code; the code itself is stored nowhere
  batch INTEGER NOT NULL REFERENCES code_batch,
  uses INTEGER NOT NULL CHECK(uses > 0),
  uses_left INTEGER NOT NULL CHECK(uses_left BETWEEN 0 AND uses),
  not_after INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX code_batch_codes ON code(batch);

CREATE TABLE code_use(
  hash BLOB NOT NULL REFERENCES code,
  org BLOB NOT NULL REFERENCES org,
  lot BLOB NOT NULL REFERENCES lot,
  at INTEGER NOT NULL,
  PRIMARY KEY(hash, org)
) STRICT, WITHOUT ROWID;

-- Credits by hand that wait for a second person.
CREATE TABLE pending_credit(
  id BLOB PRIMARY KEY,
  org BLOB NOT NULL REFERENCES org,
  currency TEXT NOT NULL,
  amount INTEGER NOT NULL CHECK(amount > 0),
  reason TEXT NOT NULL,
  asked_by TEXT NOT NULL,
  asked_at INTEGER NOT NULL,
  ended_by TEXT,
  ended_at INTEGER,
  txn INTEGER REFERENCES txn,            -- NULL after its end: it was refused
  CHECK(ended_by IS NULL OR txn IS NULL OR ended_by <> asked_by)
) STRICT, WITHOUT ROWID;

-- What providers may bill for answers that a key's callers did not wait for, by UTC day.
CREATE TABLE abandoned(
  api_key BLOB NOT NULL,
  day INTEGER NOT NULL,
  amount INTEGER NOT NULL CHECK(amount >= 0),
  PRIMARY KEY(api_key, day)
) STRICT, WITHOUT ROWID;

-- What is to be told to somebody outside, written in the commit that made it true.
CREATE TABLE outbox(
  id INTEGER PRIMARY KEY,
  at INTEGER NOT NULL,
  kind TEXT NOT NULL,
  org BLOB NOT NULL,
  body TEXT NOT NULL,
  tries INTEGER NOT NULL DEFAULT 0,
  next_at INTEGER NOT NULL,
  last_error TEXT,
  done_at INTEGER
) STRICT;
CREATE INDEX outbox_due ON outbox(next_at) WHERE done_at IS NULL;

CREATE TABLE statement(
  no INTEGER PRIMARY KEY,                -- without gaps
  wallet INTEGER NOT NULL REFERENCES wallet,
  start_at INTEGER NOT NULL,
  end_at INTEGER NOT NULL,
  opening INTEGER NOT NULL,
  closing INTEGER NOT NULL,
  body TEXT NOT NULL,
  prev_sha256 BLOB NOT NULL,
  sha256 BLOB NOT NULL,                  -- of the predecessor's hash and the body
  issued_at INTEGER NOT NULL,
  UNIQUE(wallet, start_at),
  CHECK(end_at > start_at)
) STRICT;
CREATE TRIGGER statement_keeps BEFORE UPDATE ON statement BEGIN SELECT RAISE(ABORT, 'statements are never changed'); END;
CREATE TRIGGER statement_stays BEFORE DELETE ON statement BEGIN SELECT RAISE(ABORT, 'statements are never deleted'); END;
CREATE TRIGGER lot_expiry_keeps BEFORE UPDATE ON lot_expiry BEGIN SELECT RAISE(ABORT, 'expiries are never changed'); END;
CREATE TRIGGER lot_expiry_stays BEFORE DELETE ON lot_expiry BEGIN SELECT RAISE(ABORT, 'expiries are never deleted'); END;
CREATE TRIGGER grant_log_stays BEFORE DELETE ON grant_log BEGIN SELECT RAISE(ABORT, 'grants are never deleted'); END;
