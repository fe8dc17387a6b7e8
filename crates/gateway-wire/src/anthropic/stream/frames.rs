//! Frames: the protocol's events as server-sent events.

use bytes::{BufMut, BytesMut};

use crate::json::{Json, Kind, Writer, write_str};

pub(super) fn redacted_block(out: &mut BytesMut, index: u32, data: &str) {
    start_frame(out, index, |w| {
        w.begin_object();
        w.key("type").str("redacted_thinking");
        w.key("data").str(data);
        w.end_object();
    });
    stop_frame(out, index);
}

pub(super) fn raw_frame(out: &mut BytesMut, name: &str, json: &str) {
    debug_assert!(Json::parse(json.as_bytes()).is_ok_and(|json| json.kind() == Kind::Object), "an event is an object");
    out.put_slice(b"event: ");
    out.put_slice(name.as_bytes());
    out.put_slice(b"\ndata: ");
    out.extend(json.bytes().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }));
    out.put_slice(b"\n\n");
}

pub(super) fn frame(out: &mut BytesMut, name: &str, write: impl FnOnce(&mut Writer<'_>)) {
    out.put_slice(b"event: ");
    out.put_slice(name.as_bytes());
    out.put_slice(b"\ndata: ");
    let mut w = Writer::new(out);
    w.begin_object();
    w.key("type").str(name);
    write(&mut w);
    w.end_object();
    out.put_slice(b"\n\n");
}

pub(super) fn start_frame(out: &mut BytesMut, index: u32, block: impl FnOnce(&mut Writer<'_>)) {
    frame(out, "content_block_start", |w| {
        w.key("index").u64(index.into());
        block(w.key("content_block"));
    });
}

pub(super) fn delta_frame(out: &mut BytesMut, index: u32, kind: &str, field: &str, text: &str) {
    frame(out, "content_block_delta", |w| {
        w.key("index").u64(index.into());
        w.key("delta").begin_object();
        w.key("type").str(kind);
        w.key(field).str(text);
        w.end_object();
    });
}

pub(super) fn stop_frame(out: &mut BytesMut, index: u32) {
    frame(out, "content_block_stop", |w| w.key("index").u64(index.into()));
}

/// Text as it stands between the quotes of a JSON string.
pub(super) fn inside_a_string(text: &str) -> String {
    let mut quoted = BytesMut::with_capacity(text.len() + 8);
    write_str(&mut quoted, text);
    String::from_utf8_lossy(&quoted[1..quoted.len() - 1]).into_owned()
}
