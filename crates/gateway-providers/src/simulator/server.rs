//! The simulated provider on a socket: HTTP/1.1, and HTTP/2 by prior knowledge.

use std::{
    future::Future,
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use http::Request;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use super::Simulator;

/// Serves until `shutdown` resolves; connections still open are then closed. Errors of one connection end that
/// connection only.
///
/// # Errors
/// The listener failed in a way that waiting does not heal.
pub async fn serve(listener: TcpListener, simulator: Simulator, shutdown: impl Future<Output = ()> + Send) -> io::Result<()> {
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => return Ok(()),
            Some(_ended) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _peer)) => {
                    connections.spawn(connection(stream, simulator.clone()));
                }
                Err(error) if passing(&error) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
                Err(error) => return Err(error),
            },
        }
    }
}

/// Too many open files, or a peer that left while it waited: the next accept may work.
fn passing(error: &io::Error) -> bool {
    !matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::NotConnected | io::ErrorKind::Unsupported)
}

async fn connection(stream: TcpStream, simulator: Simulator) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection to the simulator was gone at once");
    }
    let reset = Arc::new(AtomicBool::new(false));
    let cuttable = Cuttable { stream, reset: Arc::clone(&reset) };
    let service = service_fn(move |request: Request<Incoming>| {
        let (simulator, reset) = (simulator.clone(), Arc::clone(&reset));
        async move { simulator.respond(request).await.map(|response| response.map(|body| body.resetting(reset))) }
    });
    if let Err(error) = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(cuttable), service).await {
        // A scripted cut ends here too.
        tracing::debug!(%error, "a connection to the simulator broke");
    }
}

/// A connection that can be reset: closing with no lingering time makes the kernel send RST instead of FIN.
struct Cuttable {
    stream: TcpStream,
    reset: Arc<AtomicBool>,
}

impl Drop for Cuttable {
    fn drop(&mut self) {
        if self.reset.load(Ordering::Relaxed)
            && let Err(error) = self.stream.set_zero_linger()
        {
            tracing::debug!(%error, "a connection could not be reset");
        }
    }
}

impl AsyncRead for Cuttable {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Cuttable {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A polite end of the writing side first would turn the reset into a close.
        if self.reset.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }
}
