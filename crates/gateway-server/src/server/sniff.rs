//! Tells HTTP/2 by prior knowledge from HTTP/1 by the first bytes of a connection.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// RFC 9113 §3.4: what every HTTP/2 client sends first. No HTTP/1 request starts so.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    Http1,
    Http2,
}

/// Reads until it is clear; what was read must be replayed. `None`: the caller left before that.
pub(super) async fn sniff<T: AsyncRead + Unpin>(io: &mut T) -> io::Result<Option<(Version, Bytes)>> {
    // Most first requests fit, so that the first read is the only one.
    let mut read = BytesMut::with_capacity(4_096);
    loop {
        if io.read_buf(&mut read).await? == 0 {
            return Ok(None);
        }
        let compared = read.len().min(PREFACE.len());
        if read[..compared] != PREFACE[..compared] {
            return Ok(Some((Version::Http1, read.freeze())));
        }
        if compared == PREFACE.len() {
            return Ok(Some((Version::Http2, read.freeze())));
        }
    }
}
