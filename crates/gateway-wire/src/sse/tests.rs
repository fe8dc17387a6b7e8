use bytes::Bytes;
use proptest::prelude::*;

use super::*;

type Owned = (Option<String>, String);

fn framed(chunks: &[&[u8]]) -> Vec<Owned> {
    let mut framer = SseFramer::new();
    let mut seen = Vec::new();
    let mut each = |frame: Frame<'_>| {
        seen.push((frame.name.map(str::to_owned), String::from_utf8_lossy(frame.data).into_owned()));
        Ok(())
    };
    for chunk in chunks {
        framer.push(chunk, &mut each).expect("frames");
    }
    framer.finish(&mut each).expect("ends");
    seen
}

fn cut(chunks: &[&[u8]]) -> (Vec<Owned>, Vec<u8>) {
    let mut cutter = SseCutter::new();
    let (mut seen, mut bytes) = (Vec::new(), Vec::new());
    let mut each = |cut: Cut| {
        bytes.extend_from_slice(&cut.raw);
        if cut.payload != Payload::None {
            seen.push((cut.name().map(str::to_owned), String::from_utf8_lossy(cut.data()).into_owned()));
        }
    };
    for chunk in chunks {
        let step = cutter.push(&Bytes::copy_from_slice(chunk), |cut| {
            each(cut);
            Ok::<_, WireError>(())
        });
        step.expect("frames");
    }
    cutter.finish().expect("ends").into_iter().for_each(each);
    (seen, bytes)
}

/// Whole, split at every offset, and byte by byte: the frames are the same and the cuts are the input.
fn check(stream: &[u8], expected: &[(Option<&str>, &str)]) {
    let expected: Vec<Owned> = expected.iter().map(|(name, data)| (name.map(str::to_owned), (*data).to_owned())).collect();
    let text = String::from_utf8_lossy(stream);
    let bytewise: Vec<&[u8]> = stream.chunks(1).collect();
    let mut splits: Vec<Vec<&[u8]>> = (0..=stream.len()).map(|at| vec![&stream[..at], &stream[at..]]).collect();
    splits.push(bytewise);
    for chunks in splits {
        assert_eq!(framed(&chunks), expected, "{text:?} as {chunks:?}");
        let (seen, bytes) = cut(&chunks);
        assert_eq!(seen, expected, "{text:?} as {chunks:?}");
        assert_eq!(bytes, stream, "{text:?} as {chunks:?}");
    }
}

#[test]
fn lines_end_in_three_ways() {
    for end in ["\n", "\r\n", "\r"] {
        let stream = format!("event: a{end}data: 1{end}{end}data: 2{end}{end}");
        check(stream.as_bytes(), &[(Some("a"), "1"), (None, "2")]);
    }
    check(b"data: 1\r\n\ndata: 2\n\r\ndata: 3\r\r\n\ndata: 4\n\n", &[(None, "1"), (None, "2"), (None, "3"), (None, "4")]);
}

#[test]
fn data_lines_join_and_the_space_is_optional() {
    check(b"data: a\ndata:b\ndata\ndata:  c\n\n", &[(None, "a\nb\n\n c")]);
    check(b"data:{}\n\n", &[(None, "{}")]);
    check(b"data:\n\n", &[(None, "")]);
}

#[test]
fn comments_and_other_fields_are_no_frames() {
    check(b": OPENROUTER PROCESSING\n\n:\n\nid: 1\nretry: 2\nevent: x\n\ndatax: 1\n\ndata: 1\n: inside\n\n\n\n", &[(None, "1")]);
}

#[test]
fn a_byte_order_mark_counts_only_at_the_start() {
    check("\u{feff}data: 1\n\n\u{feff}data: 2\n\n".as_bytes(), &[(None, "1")]);
}

#[test]
fn the_last_frame_needs_no_blank_line() {
    check(b"data: 1\n\ndata: [DONE]", &[(None, "1"), (None, "[DONE]")]);
    check(b"data: [DONE]\n", &[(None, "[DONE]")]);
    check(b"", &[]);
    check(b"\r\n", &[]);
}

#[test]
fn characters_may_be_split() {
    check("data: ünï \u{1f600}\n\n".as_bytes(), &[(None, "ünï \u{1f600}")]);
}

#[test]
fn an_endless_frame_is_refused() {
    let mut framer = SseFramer::with_max(100);
    let mut cutter = SseCutter::with_max(100);
    let line = Bytes::from_static(b"data: 0123456789");
    let mut refused = (None, None);
    for n in 0..20 {
        if framer.push(&line, &mut |_| Ok(())).is_err() {
            refused.0.get_or_insert(n);
        }
        if cutter.push(&line, |_| Ok::<_, WireError>(())).is_err() {
            refused.1.get_or_insert(n);
        }
    }
    assert_eq!(refused, (Some(6), Some(6)));
    let whole = [b"data: ".as_slice(), &[b'x'; 200], b"\n\n"].concat();
    assert!(SseFramer::with_max(100).push(&whole, &mut |_| Ok(())).is_err());
}

#[test]
fn a_whole_frame_is_a_slice_of_its_chunk() {
    let chunk = Bytes::from_static(b"data: 1\n\ndata: 2\n\ndata: 3");
    let mut cutter = SseCutter::new();
    let mut at = 0;
    let step = cutter.push(&chunk, |cut| {
        assert_eq!(cut.raw.as_ptr(), chunk[at..].as_ptr());
        at += cut.raw.len();
        Ok::<_, WireError>(())
    });
    step.expect("frames");
    assert_eq!(at, 18);
}

#[test]
fn a_frame_takes_its_line_feed_along_and_leaves_the_next_a_slice_of_its_chunk() {
    for end in ["\n", "\r\n"] {
        let frame = Bytes::from(format!("data: 1{end}{end}"));
        let mut cutter = SseCutter::new();
        for _ in 0..3 {
            let mut seen = 0;
            let step = cutter.push(&frame, |cut| {
                assert_eq!((cut.raw.as_ptr(), cut.raw.len()), (frame.as_ptr(), frame.len()), "{end:?}");
                seen += 1;
                Ok::<_, WireError>(())
            });
            step.expect("frames");
            assert_eq!((seen, cutter.has_pending()), (1, false), "{end:?}");
        }
    }
}

#[test]
fn a_name_that_is_not_text_is_an_error() {
    assert!(SseFramer::new().push(b"event: \xff\ndata: 1\n\n", &mut |_| Ok(())).is_err());
}

proptest! {
    #[test]
    fn any_bytes_split_anywhere_give_the_same_frames(stream in prop::collection::vec(prop::sample::select(&b"data: event:x\r\n\n\r\n:\xef\xbb\xbf"[..]), 0..120), at in any::<prop::sample::Index>()) {
        let whole = framed(&[&stream]);
        let at = at.index(stream.len() + 1);
        prop_assert_eq!(&framed(&[&stream[..at], &stream[at..]]), &whole);
        let (seen, bytes) = cut(&[&stream[..at], &stream[at..]]);
        prop_assert_eq!(&seen, &whole);
        prop_assert_eq!(&bytes, &stream);
        let bytewise: Vec<&[u8]> = stream.chunks(1).collect();
        prop_assert_eq!(&framed(&bytewise), &whole);
    }
}
