-- What every commit of settlements has to write, made smaller (docs/adr/0006-the-writer-gives-way.md).

-- A batch posts to four or five accounts, and in this index each of them lay on a page of its own. Nothing reads postings
-- by account: an account's sum is in its row, and the books are verified in the order of transactions.
DROP INDEX posting_account;

-- As a partial index it was rewritten with every draw, although none of its columns changes.
DROP INDEX lot_use;
CREATE INDEX lot_use ON lot(wallet, class, expires_at, created_at);
