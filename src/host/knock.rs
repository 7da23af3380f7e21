//! Whether something answers on a port of the host's loopback.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a connection must stay open to count. The programs that publish the ports of containers
/// accept connections whether anything listens inside or not, and close them again when they find
/// nothing there; on a busy machine that takes a fifth of a second.
const SETTLED: Duration = Duration::from_millis(500);

/// The addresses that are tried, and no others ever.
const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// Whether something answers on a port, on either loopback address: it takes a connection, and does
/// not close it at once without a word.
pub async fn answers(port: u16, patience: Duration) -> bool {
    let [v4, v6] = LOOPBACK.map(|address| answers_at(address, port, patience));
    v4.await || v6.await
}

async fn answers_at(address: IpAddr, port: u16, patience: Duration) -> bool {
    let Ok(Ok(mut stream)) = timeout(patience, TcpStream::connect((address, port))).await else {
        return false;
    };
    // Most servers wait for the client to speak.
    let first: Result<io::Result<usize>, _> =
        timeout(SETTLED.min(patience), stream.read(&mut [0])).await;
    !matches!(first, Ok(Ok(0) | Err(_)))
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn a_server_that_waits_or_speaks_answers() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address).await else { continue };
            let port = listener.local_addr().unwrap().port();
            assert!(answers(port, PATIENCE).await, "{address}");
            tokio::spawn(async move {
                loop {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    stream.write_all(b"220 hello\r\n").await.ok();
                }
            });
            assert!(answers(port, PATIENCE).await, "{address}");
        }
    }

    #[tokio::test]
    async fn nobody_and_a_doorman_without_a_house_do_not() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let doorman = tokio::spawn(async move {
            loop {
                drop(listener.accept().await.unwrap());
            }
        });
        assert!(!answers(port, PATIENCE).await);
        doorman.abort();
        assert!(doorman.await.unwrap_err().is_cancelled());
        assert!(!answers(port, PATIENCE).await);
    }
}
