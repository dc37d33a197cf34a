//! The least HTTP/1.1 that starts a saga: one request at a time over a connection that is kept alive. A full
//! client costs more processor time than the whole rest of the load generator, which shares the machine with
//! what it measures.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long one request may take, all in all.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// The most bytes that the head of an answer may have.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// The most bytes that the body of an answer may have.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Post<'a> {
    pub(super) path: &'a str,
    pub(super) content_type: &'a str,
    pub(super) key: Option<&'a str>,
    pub(super) body: &'a [u8],
}

/// What was answered; the body stays in the connection's buffer.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    pub(super) status: u16,
    pub(super) retry_after: Option<Duration>,
    pub(super) body: &'a [u8],
}

/// The head of an answer, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    status: u16,
    retry_after: Option<Duration>,
    /// Where the body begins.
    begin: usize,
    body_bytes: usize,
    closes: bool,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    address: SocketAddr,
    stream: Option<TcpStream>,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Connection {
    /// A connection that is made when it is first used, and again whenever it was lost.
    pub(super) fn new(address: SocketAddr) -> Self {
        Self { address, stream: None, request: Vec::new(), answer: Vec::new() }
    }

    /// Asks and waits for the answer. After an error it is not known whether the request was carried out.
    pub(super) async fn post(&mut self, post: Post<'_>) -> io::Result<Answer<'_>> {
        match timeout(REQUEST_TIMEOUT, self.exchange(post)).await {
            Ok(Ok(head)) => {
                if head.closes {
                    self.stream = None;
                }
                let body = self.answer.get(head.begin..head.begin + head.body_bytes).unwrap_or_default();
                Ok(Answer { status: head.status, retry_after: head.retry_after, body })
            }
            Ok(Err(error)) => {
                self.stream = None;
                Err(error)
            }
            Err(_) => {
                self.stream = None;
                Err(io::ErrorKind::TimedOut.into())
            }
        }
    }

    async fn exchange(&mut self, post: Post<'_>) -> io::Result<Head> {
        self.write_request(post);
        let stream = match &mut self.stream {
            Some(stream) => stream,
            empty => {
                let stream = TcpStream::connect(self.address).await?;
                stream.set_nodelay(true)?;
                empty.insert(stream)
            }
        };
        stream.write_all(&self.request).await?;
        self.answer.clear();
        let mut head: Option<Head> = None;
        loop {
            if head.is_none() {
                head = read_head(&self.answer)?;
            }
            if let Some(head) = head
                && self.answer.len() >= head.begin + head.body_bytes
            {
                return Ok(head);
            }
            if stream.read_buf(&mut self.answer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn write_request(&mut self, post: Post<'_>) {
        let request = &mut self.request;
        request.clear();
        let length = post.body.len().to_string();
        let address = self.address.to_string();
        let fixed = [
            "POST ",
            post.path,
            " HTTP/1.1\r\nHost: ",
            &address,
            "\r\nContent-Type: ",
            post.content_type,
            "\r\nContent-Length: ",
            &length,
        ];
        for part in fixed {
            request.extend_from_slice(part.as_bytes());
        }
        if let Some(key) = post.key {
            request.extend_from_slice(b"\r\nIdempotency-Key: ");
            request.extend_from_slice(key.as_bytes());
        }
        request.extend_from_slice(b"\r\n\r\n");
        request.extend_from_slice(post.body);
    }
}

/// Reads the head if all of it is there.
fn read_head(bytes: &[u8]) -> io::Result<Option<Head>> {
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return if bytes.len() > HEAD_BYTES_MAX {
            Err(bad("the answer's head is too long"))
        } else {
            Ok(None)
        };
    };
    let text = bytes.get(..end).unwrap_or_default();
    let text = std::str::from_utf8(text).map_err(|_| bad("the answer's head is not text"))?;
    let mut lines = text.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.strip_prefix("HTTP/1.1 "))
        .and_then(|rest| rest.get(..3)?.parse().ok())
        .ok_or_else(|| bad("not an HTTP/1.1 answer"))?;
    let mut head = Head { status, retry_after: None, begin: end + 4, body_bytes: 0, closes: false };
    let mut has_length = status == 204;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            head.body_bytes = value.parse().map_err(|_| bad("a content-length that is no number"))?;
            has_length = true;
        } else if name.eq_ignore_ascii_case("retry-after") {
            head.retry_after = value.parse().ok().map(Duration::from_secs);
        } else if name.eq_ignore_ascii_case("connection") {
            head.closes = value.eq_ignore_ascii_case("close");
        }
    }
    if !has_length || head.body_bytes > BODY_BYTES_MAX {
        return Err(bad("an answer without a length, or with too great a one"));
    }
    Ok(Some(head))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_when_it_is_complete() {
        let text = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 5\r\nretry-after: 2\r\n\r\nhel";
        assert_eq!(read_head(&text[..40]).expect("so far so good"), None);
        let head = read_head(text).expect("a head").expect("complete");
        assert_eq!((head.status, head.body_bytes, head.begin), (503, 5, text.len() - 3));
        assert_eq!(head.retry_after, Some(Duration::from_secs(2)));
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        for text in
            ["HTTP/1.1 200 OK\r\n\r\n", "SMTP\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"]
        {
            assert!(read_head(text.as_bytes()).is_err(), "{text}");
        }
    }
}
