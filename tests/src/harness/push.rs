//! A program of a department that pushes rows to its agent, in HTTP written by hand.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::Machine;
use super::agent::PUSH_TOKEN;
use super::wait::until;

/// The agent waits for room in its outbox for some seconds before it answers.
const PATIENCE: Duration = Duration::from_secs(20);

/// An answer.
#[derive(Clone, Debug)]
pub struct Pushed {
    /// Status code.
    pub status: u16,
    /// Head of the answer, in lower case.
    pub head: String,
    /// Body.
    pub body: Value,
}

/// What is sent besides rows.
#[derive(Clone, Copy, Debug)]
pub struct Header<'a> {
    /// `Content-Type`.
    pub content_type: &'a str,
    /// `Idempotency-Key`.
    pub key: Option<&'a str>,
    /// The bearer token.
    pub token: &'a str,
}

impl Default for Header<'_> {
    fn default() -> Self {
        Self { content_type: "application/x-ndjson", key: None, token: PUSH_TOKEN }
    }
}

/// Where the machine's agent takes rows, once it does.
///
/// # Errors
/// When it does not in time.
pub fn door(machine: &Machine, within: Duration) -> Result<SocketAddr> {
    until(within, "the agent takes pushed rows", || {
        // While it starts, nobody answers.
        let Ok(status) = machine.status() else { return Ok(None) };
        let address = status["push"].as_str().map(str::parse).transpose();
        address.context("the address for pushed rows")
    })
}

/// Posts rows of a resource; an error when the answer did not come whole.
///
/// # Errors
/// When the connection fails.
pub fn post(
    door: SocketAddr,
    resource: &str,
    header: Header<'_>,
    rows: &[u8],
) -> io::Result<Pushed> {
    let mut head = format!(
        "POST /v1/resources/{resource}/rows HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\
         Content-Type: {}\r\nContent-Length: {}\r\nAuthorization: Bearer {}\r\n",
        header.content_type,
        rows.len(),
        header.token
    );
    if let Some(key) = header.key {
        head.push_str(&format!("Idempotency-Key: {key}\r\n"));
    }
    head.push_str("\r\n");
    exchange(door, &[head.as_bytes(), rows].concat())
}

/// Gets a page.
///
/// # Errors
/// When the connection fails.
pub fn get(door: SocketAddr, path: &str) -> io::Result<Pushed> {
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\
         Authorization: Bearer {PUSH_TOKEN}\r\n\r\n"
    );
    exchange(door, head.as_bytes())
}

/// Posts rows until they are taken, as a careful program does: again after an answer that says so, or
/// none, and always with the same key. `again` is asked for the address before each try.
///
/// # Errors
/// When they are refused as a whole, or `within` has passed.
pub fn post_until_taken(
    mut again: impl FnMut() -> Option<SocketAddr>,
    resource: &str,
    key: &str,
    rows: &[u8],
    within: Duration,
) -> Result<Pushed> {
    until(within, "the rows are taken", || {
        let Some(door) = again() else { return Ok(None) };
        let header = Header { key: Some(key), ..Header::default() };
        match post(door, resource, header, rows) {
            Ok(answer) if answer.status == 200 => Ok(Some(answer)),
            Ok(answer) if matches!(answer.status, 409 | 429 | 503) => Ok(None),
            Ok(answer) => bail!("{answer:?}"),
            Err(_) => Ok(None),
        }
    })
}

fn exchange(door: SocketAddr, request: &[u8]) -> io::Result<Pushed> {
    let mut stream = TcpStream::connect_timeout(&door, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // Who is refused early may not read everything: what it answered is what counts.
    let sent = stream.write_all(request);
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    let broken = || io::Error::new(io::ErrorKind::UnexpectedEof, "no whole answer");
    let Some((head, body)) = answer.split_once("\r\n\r\n") else {
        sent?;
        read?;
        return Err(broken());
    };
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(broken)?;
    let body = serde_json::from_str(body).map_err(|_| broken())?;
    Ok(Pushed { status, head: head.to_ascii_lowercase(), body })
}
