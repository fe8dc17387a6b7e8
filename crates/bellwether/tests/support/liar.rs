//! An upstream on a raw socket that answers as badly as the model it is asked for says.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

/// 11 prompt and 7 completion tokens.
pub(crate) const ANSWER: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"good","choices":[{"index":0,"message":{"role":"assistant","content":"all is well"},"finish_reason":"stop","logprobs":null}],"usage":{"prompt_tokens":11,"completion_tokens":7,"total_tokens":18}}"#;
const HTML: &str = "<!doctype html><title>Sign in</title><p>Please sign in to the company's network.";
const EVENT: &str = r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"good","choices":[{"index":0,"delta":{"role":"assistant","content":"all "},"finish_reason":null}]}"#;
const LAST: &str = r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"good","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
const JSON: &str = "content-type: application/json\r\n";
const SSE: &str = "content-type: text/event-stream\r\n";
const GIB: usize = 1 << 30;

/// Every way in which it fails before a byte of an answer can be believed, for whole answers.
pub(crate) const WHOLE_LIES: &[&str] = &[
    "length-too-short",
    "length-too-long",
    "two-lengths",
    "no-length-cut",
    "chunked-cut",
    "bad-chunk-size",
    "html",
    "html-called-json",
    "gzip",
    "closed-at-once",
    "garbage",
    "empty",
];
/// Those that break a stream after its first event.
pub(crate) const STREAM_LIES: &[&str] = &["stream-cut", "stream-no-length-cut", "stream-length-too-long", "stream-bad-chunk"];
/// Those that send without end.
pub(crate) const FLOODS: &[&str] = &["endless-head", "huge-head", "huge-body", "huge-body-announced", "endless-error"];
/// Those that stream without end.
pub(crate) const STREAM_FLOODS: &[&str] = &["stream-endless-line", "stream-endless-comments", "stream-endless-events"];

/// Listens on a free port, until the process ends.
pub(crate) fn start() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound listener");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}

fn serve(mut stream: TcpStream) {
    // A gateway that hangs up on a flood is right to do so; errors here are no concern of a test.
    drop(stream.set_write_timeout(Some(Duration::from_secs(10))));
    if let Some(model) = asked(&mut stream) {
        drop(answer(&mut stream, &model));
    }
}

/// Reads one request and tells which model it names.
fn asked(stream: &mut TcpStream) -> Option<String> {
    let mut read = Vec::new();
    let mut buffer = [0; 16_384];
    loop {
        let count = stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
        read.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&read);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
        if body.len() >= length.unwrap_or(0) {
            let (_, rest) = body.split_once("\"model\"")?;
            return rest.split('"').nth(1).map(str::to_owned);
        }
    }
}

fn answer(stream: &mut TcpStream, model: &str) -> std::io::Result<()> {
    let head = |headers: &str| format!("HTTP/1.1 200 OK\r\nconnection: close\r\n{headers}\r\n");
    let length = |length: usize| format!("content-length: {length}\r\n");
    let chunked = "transfer-encoding: chunked\r\n";
    let half = &ANSWER[..ANSWER.len() / 2];
    let event = format!("data: {EVENT}\n\n");
    let text = match model {
        "good" => head(&(JSON.to_owned() + &length(ANSWER.len()))) + ANSWER,
        "good-stream" => head(SSE) + &event + &format!("data: {LAST}\n\ndata: [DONE]\n\n"),
        "length-too-short" => head(&(JSON.to_owned() + &length(100))) + ANSWER,
        "length-too-long" => head(&(JSON.to_owned() + &length(ANSWER.len() + 1_000))) + ANSWER,
        "two-lengths" => head(&(JSON.to_owned() + &length(ANSWER.len()) + &length(10))) + ANSWER,
        "no-length-cut" => head(JSON) + half,
        "chunked-cut" => head(&(JSON.to_owned() + chunked)) + &chunk(half),
        "bad-chunk-size" => head(&(JSON.to_owned() + chunked)) + "zz\r\n" + ANSWER,
        "html" => head(&("content-type: text/html\r\n".to_owned() + &length(HTML.len()))) + HTML,
        "html-called-json" => head(&(JSON.to_owned() + &length(HTML.len()))) + HTML,
        "gzip" => head(&(JSON.to_owned() + "content-encoding: gzip\r\n" + &length(4))) + "\x1f\x08\x08\x00",
        "closed-at-once" => String::new(),
        "garbage" => "\x16\x03\x01 not the HTTP you were looking for \x00\x01\x02\r\n\r\n".to_owned(),
        "empty" => head(&(JSON.to_owned() + &length(0))),
        "stream-cut" => head(&(SSE.to_owned() + chunked)) + &chunk(&event),
        "stream-no-length-cut" => head(SSE) + &event,
        "stream-length-too-long" => head(&(SSE.to_owned() + &length(100_000))) + &event,
        "stream-bad-chunk" => head(&(SSE.to_owned() + chunked)) + &chunk(&event) + "what is a size\r\n",
        "endless-head" => return flood(stream, "HTTP/1.1 200 OK\r\nx-long: ", "never ends "),
        "huge-head" => return flood(stream, "HTTP/1.1 200 OK\r\n", "x-again: and again\r\n"),
        "huge-body" => return flood(stream, &head(JSON), "{\"id\":\"again and again\"}"),
        "huge-body-announced" => return flood(stream, &head(&(JSON.to_owned() + &length(GIB))), "[[[[[[[["),
        "endless-error" => return flood(stream, "HTTP/1.1 500 Oh\r\n\r\n", "it is all wrong "),
        "stream-endless-line" => return flood(stream, &(head(SSE) + "data: "), "never ends "),
        "stream-endless-comments" => return flood(stream, &head(SSE), ": still here\n\n"),
        "stream-endless-events" => return flood(stream, &head(SSE), &event),
        other => panic!("no such way to answer: {other}"),
    };
    stream.write_all(text.as_bytes())
}

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

/// Sends `again` until a GiB has gone or the reader leaves.
fn flood(stream: &mut TcpStream, start: &str, again: &str) -> std::io::Result<()> {
    stream.write_all(start.as_bytes())?;
    let block = again.repeat(256 * 1_024 / again.len());
    for _ in 0..GIB / block.len() {
        stream.write_all(block.as_bytes())?;
    }
    Ok(())
}
