//! The mock provider: OpenAI chat completions whose timing the model's name decides.

use std::{convert::Infallible, net::SocketAddr, time::Duration};

use anyhow::Result;
use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, Either, Full, StreamBody};
use hyper::{
    Request, Response, StatusCode,
    body::{Frame, Incoming},
    header::{CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, task::JoinSet, time::sleep};

use crate::payload;

/// How a model answers.
struct Manner {
    first_byte: Duration,
    between_events: Duration,
}

/// `bench-plain` at once; `bench-20ms`, `bench-500ms` after a pause; `bench-paced` an event every 5 ms; anything else,
/// such as `bench-bunched`, without gaps.
fn manner(model: &str) -> Manner {
    let ms = Duration::from_millis;
    let (first_byte, between_events) = match model {
        "bench-20ms" => (ms(20), ms(0)),
        "bench-500ms" => (ms(500), ms(0)),
        "bench-paced" => (ms(0), ms(5)),
        _ => (ms(0), ms(0)),
    };
    Manner { first_byte, between_events }
}

pub(crate) async fn serve(listen: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(listen).await?;
    println!("{}", listener.local_addr()?);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (socket, _peer) = accepted?;
                socket.set_nodelay(true)?;
                let served = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(socket), service_fn(answer));
                // A connection that breaks is the load's to report: it misses an answer.
                connections.spawn(async move { drop(served.await) });
            }
            Some(_ended) = connections.join_next() => {}
        }
    }
}

type Body = Either<Full<Bytes>, StreamBody<stream::BoxStream<'static, Result<Frame<Bytes>, Infallible>>>>;

async fn answer(request: Request<Incoming>) -> Result<Response<Body>, hyper::Error> {
    let body = request.into_body().collect().await?.to_bytes();
    let (Some(model), Some(number)) = (payload::model_in(&body), payload::number_in(&body)) else {
        let mut refusal =
            Response::new(Either::Left(Full::from(r#"{"error":{"message":"no model or number","type":"invalid_request_error"}}"#)));
        *refusal.status_mut() = StatusCode::BAD_REQUEST;
        return Ok(refusal);
    };
    let manner = manner(model);
    if !manner.first_byte.is_zero() {
        sleep(manner.first_byte).await;
    }
    let contains = |text: &[u8]| body.windows(text.len()).any(|window| window == text);
    let (content_type, answer) = if contains(br#""stream":true"#) {
        let frames = payload::frames(model, number, contains(br#""include_usage":true"#));
        ("text/event-stream", Either::Right(StreamBody::new(paced(frames, manner.between_events))))
    } else {
        ("application/json", Either::Left(Full::from(payload::answer(model, number))))
    };
    let mut response = Response::new(answer);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    Ok(response)
}

fn paced(frames: Vec<Bytes>, gap: Duration) -> stream::BoxStream<'static, Result<Frame<Bytes>, Infallible>> {
    Box::pin(stream::unfold(frames.into_iter(), move |mut frames| async move {
        let frame = frames.next()?;
        if !gap.is_zero() {
            sleep(gap).await;
        }
        Some((Ok(Frame::data(frame)), frames))
    }))
}
