//! An upstream of the tests' own: an OpenAI chat endpoint that answers only when it is told to.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpListener, sync::watch};

/// Counts the calls that arrive and holds them until released.
pub(crate) struct Barrier {
    pub(crate) address: SocketAddr,
    arrived: Arc<AtomicUsize>,
    open: watch::Sender<bool>,
}

impl Barrier {
    /// Listens on a free port. `answer` is the body of every answer; it is sent at once when `open` starts out true.
    pub(crate) async fn start(open: bool, answer: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener");
        let arrived = Arc::new(AtomicUsize::new(0));
        let (open, gate) = watch::channel(open);
        let counter = Arc::clone(&arrived);
        spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (counter, gate) = (Arc::clone(&counter), gate.clone());
                let service = service_fn(move |request| respond(request, Arc::clone(&counter), gate.clone(), answer));
                spawn(async move {
                    let connection = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    drop(connection.serve_connection(TokioIo::new(stream), service).await);
                });
            }
        });
        Self { address, arrived, open }
    }

    /// Calls that have arrived so far.
    pub(crate) fn arrived(&self) -> usize {
        self.arrived.load(Ordering::SeqCst)
    }

    /// Lets every waiting and coming call be answered.
    pub(crate) fn release(&self) {
        self.open.send_replace(true);
    }
}

async fn respond(
    request: Request<Incoming>,
    arrived: Arc<AtomicUsize>,
    mut gate: watch::Receiver<bool>,
    answer: &'static str,
) -> Result<Response<Full<Bytes>>, Infallible> {
    drop(request.into_body().collect().await);
    arrived.fetch_add(1, Ordering::SeqCst);
    drop(gate.wait_for(|open| *open).await);
    let response = Response::builder().header("content-type", "application/json").body(Full::new(Bytes::from_static(answer.as_bytes())));
    Ok(response.expect("a response of constants"))
}

#[expect(clippy::disallowed_methods, reason = "a test's tasks end with its runtime")]
fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(task);
}
