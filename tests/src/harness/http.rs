//! One HTTP request; enough for a status page on this machine.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};

const PATIENCE: Duration = Duration::from_secs(5);

/// Status code and body of a page.
///
/// # Errors
/// When the server does not answer, or not in HTTP.
pub fn get(server: SocketAddr, path: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // Version 1.0 keeps the answer in one piece, ended by the end of the connection.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {server}\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let text = String::from_utf8(answer).context("the answer is UTF-8")?;
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        bail!("{server}{path} answered no HTTP: {text:.80}");
    };
    let code = head.split(' ').nth(1).context("a status line")?;
    Ok((code.parse().with_context(|| format!("the status code {code:?}"))?, body.to_owned()))
}
