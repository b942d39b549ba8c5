//! One HTTP request; enough for a page or a socket on this machine.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

const PATIENCE: Duration = Duration::from_secs(30);

/// Status code and body of a page.
///
/// # Errors
/// When the server does not answer, or not in HTTP.
pub fn get(server: SocketAddr, path: &str) -> Result<(u16, String)> {
    let stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    ask(stream, "GET", path)
}

/// Status code and body of a request over a Unix socket.
///
/// # Errors
/// When the server does not answer, or not in HTTP.
pub fn over_socket(socket: &Path, method: &str, path: &str) -> Result<(u16, String)> {
    let stream =
        UnixStream::connect(socket).with_context(|| format!("connect to {}", socket.display()))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    ask(stream, method, path)
}

/// A stream whose sending half can be ended.
pub trait Duplex: Read + Write {
    /// Nothing more will be sent; an answer is given up after a while.
    ///
    /// # Errors
    /// The system's.
    fn finish(&self) -> io::Result<()>;
}

impl Duplex for TcpStream {
    fn finish(&self) -> io::Result<()> {
        self.set_read_timeout(Some(PATIENCE))?;
        self.shutdown(Shutdown::Write)
    }
}

impl Duplex for UnixStream {
    fn finish(&self) -> io::Result<()> {
        self.set_read_timeout(Some(PATIENCE))?;
        self.shutdown(Shutdown::Write)
    }
}

/// Sends these bytes, whatever they are, and reads until the other side ends.
///
/// # Errors
/// When the other side breaks off.
pub fn raw(mut stream: impl Duplex, bytes: &[u8]) -> io::Result<Vec<u8>> {
    stream.write_all(bytes)?;
    stream.finish()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

fn ask(mut stream: impl Read + Write, method: &str, path: &str) -> Result<(u16, String)> {
    // Version 1.0 keeps the answer in one piece, ended by the end of the connection.
    write!(stream, "{method} {path} HTTP/1.0\r\nHost: hub\r\nContent-Length: 0\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let text = String::from_utf8(answer).context("the answer is UTF-8")?;
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        bail!("{path} answered no HTTP: {text:.80}");
    };
    let code = head.split(' ').nth(1).context("a status line")?;
    Ok((code.parse().with_context(|| format!("the status code {code:?}"))?, body.to_owned()))
}
