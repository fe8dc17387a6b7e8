-- The ledger of one node. All instants are microseconds since 1970, UTC; all amounts are billionths of a currency unit.
-- Migrations only add: a shipped file never changes.

CREATE TABLE meta(
  key TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- One row per start of the gateway; an open hold of an earlier boot has no owner.
CREATE TABLE boot(
  id INTEGER PRIMARY KEY,
  uuid BLOB NOT NULL UNIQUE,
  started_at INTEGER NOT NULL,
  stopped_at INTEGER
) STRICT;

CREATE TABLE org(
  id BLOB PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE api_key(
  id BLOB PRIMARY KEY,
  org BLOB NOT NULL REFERENCES org,
  mode TEXT NOT NULL CHECK(mode IN ('live', 'test')),
  name TEXT NOT NULL,
  hash BLOB NOT NULL UNIQUE,             -- HMAC-SHA-256 of the key; the key itself is stored nowhere
  prefix TEXT NOT NULL,                  -- its first characters, for telling keys apart
  models TEXT,                           -- JSON array of public names; NULL = all
  expires_at INTEGER,
  created_at INTEGER NOT NULL,
  revoked_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX api_key_org ON api_key(org, created_at);

-- Double entry. A positive posting is a debit.
CREATE TABLE account(
  id INTEGER PRIMARY KEY,
  code INTEGER NOT NULL,
  owner BLOB NOT NULL,                   -- 16 zero bytes = the operator; a tenant's id; a provider's name
  currency TEXT NOT NULL,
  posted INTEGER NOT NULL DEFAULT 0,
  UNIQUE(code, owner, currency)
) STRICT;

CREATE TABLE wallet(
  id INTEGER PRIMARY KEY,
  org BLOB NOT NULL REFERENCES org,
  currency TEXT NOT NULL,
  posted INTEGER NOT NULL DEFAULT 0,
  held INTEGER NOT NULL DEFAULT 0,
  floor INTEGER NOT NULL DEFAULT 0,
  state TEXT NOT NULL DEFAULT 'ok',
  UNIQUE(org, currency),
  CHECK(held >= 0),
  CHECK(posted - held >= floor)
) STRICT;

CREATE TABLE lot(
  id BLOB PRIMARY KEY,
  wallet INTEGER NOT NULL REFERENCES wallet,
  class TEXT NOT NULL CHECK(class IN ('promo', 'paid')),
  source TEXT NOT NULL,
  order_id BLOB,
  granted INTEGER NOT NULL CHECK(granted > 0),
  remaining INTEGER NOT NULL,
  expires_at INTEGER,
  created_at INTEGER NOT NULL,
  CHECK(remaining BETWEEN 0 AND granted)
) STRICT, WITHOUT ROWID;
CREATE INDEX lot_use ON lot(wallet, class, expires_at, created_at) WHERE remaining > 0;

CREATE TABLE txn(
  id INTEGER PRIMARY KEY,
  at INTEGER NOT NULL,
  kind TEXT NOT NULL,
  idem TEXT NOT NULL UNIQUE,
  reason TEXT,
  actor TEXT,
  reverses INTEGER REFERENCES txn,
  prev_hash BLOB NOT NULL,
  hash BLOB NOT NULL
) STRICT;

CREATE TABLE posting(
  txn INTEGER NOT NULL REFERENCES txn,
  seq INTEGER NOT NULL,
  account INTEGER NOT NULL REFERENCES account,
  amount INTEGER NOT NULL CHECK(amount <> 0),
  PRIMARY KEY(txn, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX posting_account ON posting(account, txn);

CREATE TABLE price_version(
  id INTEGER PRIMARY KEY,
  book TEXT NOT NULL,
  model TEXT NOT NULL,
  route TEXT NOT NULL DEFAULT '',        -- '' = any upstream
  currency TEXT NOT NULL,
  effective_from INTEGER NOT NULL,
  effective_to INTEGER,
  body TEXT NOT NULL,
  sha256 BLOB NOT NULL,
  published_at INTEGER,
  published_by TEXT,
  UNIQUE(book, model, route, effective_from)
) STRICT;

CREATE TABLE plan_version(
  id INTEGER PRIMARY KEY,
  plan TEXT NOT NULL,
  multiplier_ppm INTEGER NOT NULL CHECK(multiplier_ppm BETWEEN 0 AND 100000000),
  effective_from INTEGER NOT NULL,
  UNIQUE(plan, effective_from)
) STRICT;
INSERT INTO plan_version(id, plan, multiplier_ppm, effective_from) VALUES (1, 'default', 1000000, 0);

-- Where an answer was served, once per combination, so that settlements carry a small number.
CREATE TABLE served(
  id INTEGER PRIMARY KEY,
  provider TEXT NOT NULL,
  upstream_model TEXT NOT NULL,
  model TEXT NOT NULL,
  UNIQUE(provider, upstream_model, model)
) STRICT;

CREATE TABLE hold(
  id BLOB PRIMARY KEY,                   -- the request's id
  wallet INTEGER NOT NULL REFERENCES wallet,
  api_key BLOB NOT NULL,
  amount INTEGER NOT NULL CHECK(amount >= 0),
  pins BLOB NOT NULL,                    -- per candidate: price_version, plan_version
  budgets BLOB NOT NULL DEFAULT x'',     -- budget periods reserved with it
  state INTEGER NOT NULL CHECK(state BETWEEN 0 AND 3), -- 0 open 1 settled 2 released 3 estimated
  boot INTEGER NOT NULL REFERENCES boot,
  requested_model TEXT NOT NULL,
  stream INTEGER NOT NULL,
  progress BLOB,
  created_at INTEGER NOT NULL,           -- arrival of the request; prices are judged at it
  ended_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX hold_open ON hold(wallet) WHERE state = 0;

CREATE TABLE settlement(
  hold BLOB NOT NULL REFERENCES hold,
  seq INTEGER NOT NULL,                  -- 0 = first, 1 = adjustment
  wallet INTEGER NOT NULL,
  txn INTEGER NOT NULL REFERENCES txn,
  attempt INTEGER NOT NULL,
  served INTEGER NOT NULL,
  price_version INTEGER NOT NULL,
  plan_version INTEGER NOT NULL,
  cost_version INTEGER,
  leaves BLOB NOT NULL,
  tokens_in INTEGER NOT NULL,
  tokens_out INTEGER NOT NULL,
  usage_source INTEGER NOT NULL,         -- 0 reported 1 early+counted 2 counted 3 recovered
  flags INTEGER NOT NULL,
  charge INTEGER NOT NULL CHECK(charge >= 0), -- the price of the usage; the wallet pays charge - written_off
  from_hold INTEGER NOT NULL CHECK(from_hold >= 0),
  overrun INTEGER NOT NULL CHECK(overrun >= 0),
  written_off INTEGER NOT NULL CHECK(written_off >= 0),
  cost INTEGER NOT NULL CHECK(cost >= 0),
  cost_reported INTEGER,
  at INTEGER NOT NULL,
  PRIMARY KEY(hold, seq),
  CHECK(from_hold + overrun + written_off = charge)
) STRICT, WITHOUT ROWID;

CREATE TABLE lot_draw(
  hold BLOB NOT NULL,
  lot BLOB NOT NULL,
  amount INTEGER NOT NULL CHECK(amount > 0),
  PRIMARY KEY(hold, lot)
) STRICT, WITHOUT ROWID;

-- Written only where there was more than one attempt, or where the only one failed.
CREATE TABLE attempt(
  hold BLOB NOT NULL,
  n INTEGER NOT NULL,
  provider TEXT NOT NULL,
  upstream_model TEXT NOT NULL,
  started_at INTEGER NOT NULL,
  ended_at INTEGER,
  outcome TEXT,                          -- 'served', a fault kind, or 'abandoned'
  status INTEGER,
  cost INTEGER,
  PRIMARY KEY(hold, n)
) STRICT, WITHOUT ROWID;

-- What a repeated admin operation answers.
CREATE TABLE admin_idem(
  key TEXT PRIMARY KEY,
  body_sha BLOB NOT NULL,
  answer TEXT NOT NULL,
  at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TRIGGER txn_keeps BEFORE UPDATE ON txn BEGIN SELECT RAISE(ABORT, 'transactions are never changed'); END;
CREATE TRIGGER txn_stays BEFORE DELETE ON txn BEGIN SELECT RAISE(ABORT, 'transactions are never deleted'); END;
CREATE TRIGGER posting_keeps BEFORE UPDATE ON posting BEGIN SELECT RAISE(ABORT, 'postings are never changed'); END;
CREATE TRIGGER posting_stays BEFORE DELETE ON posting BEGIN SELECT RAISE(ABORT, 'postings are never deleted'); END;
CREATE TRIGGER settlement_keeps BEFORE UPDATE ON settlement BEGIN SELECT RAISE(ABORT, 'settlements are never changed'); END;
CREATE TRIGGER settlement_stays BEFORE DELETE ON settlement BEGIN SELECT RAISE(ABORT, 'settlements are never deleted'); END;
CREATE TRIGGER plan_version_keeps BEFORE UPDATE ON plan_version BEGIN SELECT RAISE(ABORT, 'plan versions are never changed'); END;
CREATE TRIGGER plan_version_stays BEFORE DELETE ON plan_version BEGIN SELECT RAISE(ABORT, 'plan versions are never deleted'); END;
CREATE TRIGGER price_version_stays BEFORE DELETE ON price_version BEGIN SELECT RAISE(ABORT, 'price versions are never deleted'); END;
-- The end of a version is set once, when its successor is published.
CREATE TRIGGER price_version_keeps BEFORE UPDATE ON price_version
WHEN NOT (OLD.effective_to IS NULL AND NEW.effective_to IS NOT NULL AND NEW.id = OLD.id AND NEW.book = OLD.book
  AND NEW.model = OLD.model AND NEW.route = OLD.route AND NEW.currency = OLD.currency
  AND NEW.effective_from = OLD.effective_from AND NEW.body = OLD.body AND NEW.sha256 = OLD.sha256
  AND NEW.published_at IS OLD.published_at AND NEW.published_by IS OLD.published_by)
BEGIN SELECT RAISE(ABORT, 'price versions are never changed'); END;
CREATE TRIGGER hold_stays BEFORE DELETE ON hold WHEN OLD.state = 0
BEGIN SELECT RAISE(ABORT, 'an open hold is settled or released, never deleted'); END;
CREATE TRIGGER hold_ends_once BEFORE UPDATE OF state ON hold WHEN OLD.state <> 0
BEGIN SELECT RAISE(ABORT, 'a hold is resolved once'); END;
