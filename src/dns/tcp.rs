//! Answers on connections (RFC 7766).

use std::io;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tracing::debug;

use super::filter::Transport;
use super::rules::{Rules, Warden};
use super::server::Clerk;
use super::upstream::Upstream;

/// How large a query may be; who sends a larger one is no resolver.
const MAX_QUERY: usize = 2048;

/// How many connections there are at a time; others wait in the kernel until one has ended.
const MAX_CONNECTIONS: usize = 64;

/// How long a connection waits for a whole query, and for the client to take a reply.
const IDLE: Duration = Duration::from_secs(5);

/// How long none is accepted after an error, such as too many open files.
const PAUSE: Duration = Duration::from_millis(50);

/// Has tokio take a socket over.
pub(super) fn adopt(listener: std::net::TcpListener) -> io::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// Answers on the connections that a socket takes.
pub(super) async fn serve<R: Rules, W: Warden<R::Scope>, U: Upstream>(
    listener: &TcpListener,
    clerk: &Clerk<R, W, U>,
) {
    let mut connections = FuturesUnordered::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => {
                match accepted {
                    Ok((connection, _)) => connections.push(converse(connection, clerk)),
                    Err(error) => {
                        debug!(%error, "could not accept a connection");
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
            Some(ended) = connections.next() => {
                if let Err(error) = ended {
                    debug!(%error, "a connection ended");
                }
            }
        }
    }
}

/// Answers one query after the other: those that come meanwhile wait in the connection.
async fn converse<R: Rules, W: Warden<R::Scope>, U: Upstream>(
    mut connection: TcpStream,
    clerk: &Clerk<R, W, U>,
) -> io::Result<()> {
    let mut query = Vec::new();
    while timeout(IDLE, receive(&mut connection, &mut query)).await?? {
        let Some(reply) = clerk.answer(&query, Transport::Tcp).await else { return Ok(()) };
        timeout(IDLE, send(&mut connection, reply)).await??;
    }
    Ok(())
}

/// Receives a query; there is none when the client has closed the connection.
async fn receive(connection: &mut TcpStream, query: &mut Vec<u8>) -> io::Result<bool> {
    let size = match connection.read_u16().await {
        Ok(size) => size.into(),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
        Err(error) => return Err(error),
    };
    if size > MAX_QUERY {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the query is too large"));
    }
    query.resize(size, 0);
    connection.read_exact(query).await?;
    Ok(true)
}

/// Sends a reply in one piece: there are clients that take the length alone for all of it.
async fn send(connection: &mut TcpStream, mut reply: Vec<u8>) -> io::Result<()> {
    let size = u16::try_from(reply.len())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "the reply is too large"))?;
    reply.splice(..0, size.to_be_bytes());
    connection.write_all(&reply).await
}
