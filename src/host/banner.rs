//! Waiting for an sshd.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout_at};

/// The first pause before the next try; pauses double up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// How long one connection may stay silent. An sshd speaks first and at once; a connection on which
/// nothing comes was accepted on behalf of an sshd that was not there yet.
const SILENCE: Duration = Duration::from_secs(2);

/// How much may come before the banner: lines that the server sends first (RFC 4253, 4.2).
const MAX_BYTES: u64 = 8 * 1024;

/// The beginning of the banner.
const BANNER: &str = "SSH-2.0-";

/// No sshd answered in time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no sshd answered on 127.0.0.1:{port} in time; the last try: {last}")]
pub struct BannerError {
    /// The port.
    pub port: u16,
    /// What the last try saw.
    pub last: String,
}

/// Waits until an sshd answers on a port of the loopback, and returns how it introduces itself.
pub async fn await_banner(port: u16, deadline: impl Into<Instant>) -> Result<String, BannerError> {
    let deadline = deadline.into();
    let mut pause = FIRST_PAUSE;
    loop {
        let silence = (Instant::now() + SILENCE).min(deadline);
        let last = match timeout_at(silence, read_banner(port)).await {
            Ok(Ok(banner)) => return Ok(banner),
            Ok(Err(saw)) => saw,
            Err(_) => "the connection stayed silent".to_owned(),
        };
        if Instant::now() + pause >= deadline {
            return Err(BannerError { port, last });
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Asks an sshd once, and returns how it introduces itself. It leaves again at once, before sshd has
/// done any work for it: no connection is left that would count against `MaxStartups`.
pub async fn probe(port: u16, patience: Duration) -> Result<String, BannerError> {
    let answered = timeout_at(Instant::now() + patience, read_banner(port)).await;
    let silent = |_| Err("the connection stayed silent".to_owned());
    answered.unwrap_or_else(silent).map_err(|last| BannerError { port, last })
}

/// Connects once and reads up to the banner; the error tells what was seen instead.
async fn read_banner(port: u16) -> Result<String, String> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .await
        .map_err(|error| format!("cannot connect: {error}"))?;
    let mut reader = BufReader::new(stream.take(MAX_BYTES));
    let mut line = Vec::new();
    let mut other = None;
    loop {
        line.clear();
        match reader.read_until(b'\n', &mut line).await {
            Err(error) => return Err(format!("the connection broke: {error}")),
            Ok(0) => {
                return Err(other.map_or_else(
                    || "the connection was closed before the banner".to_owned(),
                    |seen| format!("something that is no sshd answers: {seen:?}"),
                ));
            }
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        if text.starts_with(BANNER) {
            return Ok(text.to_owned());
        }
        other = Some(text.chars().take(60).collect::<String>());
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    async fn listener() -> (TcpListener, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, port)
    }

    #[tokio::test]
    async fn connections_that_break_are_tried_again() {
        let (listener, port) = listener().await;
        tokio::spawn(async move {
            for _ in 0..3 {
                drop(listener.accept().await.unwrap());
            }
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"hello\r\nSSH-2.0-OpenSSH_10.0\r\nrest").await.unwrap();
        });
        let deadline = Instant::now() + Duration::from_secs(10);
        assert_eq!(await_banner(port, deadline).await.unwrap(), "SSH-2.0-OpenSSH_10.0");
    }

    #[tokio::test]
    async fn what_is_no_sshd_is_told() {
        let (unused, port) = listener().await;
        drop(unused);
        let saw = read_banner(port).await.unwrap_err();
        assert!(saw.starts_with("cannot connect: Connection refused"), "{saw}");

        let (web, port) = listener().await;
        tokio::spawn(async move {
            let (mut stream, _) = web.accept().await.unwrap();
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n").await.unwrap();
        });
        let saw = read_banner(port).await.unwrap_err();
        assert_eq!(saw, "something that is no sshd answers: \"HTTP/1.1 400 Bad Request\"");
    }

    #[tokio::test]
    async fn the_deadline_holds_even_when_the_connection_stays_silent() {
        let (_silent, port) = listener().await;
        let deadline = std::time::Instant::now() + Duration::from_millis(50);
        let error = await_banner(port, deadline).await.unwrap_err();
        assert_eq!((error.port, error.last.as_str()), (port, "the connection stayed silent"));
    }
}
