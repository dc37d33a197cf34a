//! The smallest useful Postgres client: trust authentication, simple queries, text results.

use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::error::{Doing, Error};

/// Rows of text; `None` is SQL's NULL.
pub(crate) type Rows = Vec<Vec<Option<String>>>;

/// Connects, runs the statements, and answers the rows of all of them.
pub(crate) fn query(port: u16, database: &str, sql: &str) -> Result<Rows, Error> {
    talk(port, database, sql).doing(|| format!("talk to Postgres at 127.0.0.1:{port}"))?
}

fn talk(port: u16, database: &str, sql: &str) -> io::Result<Result<Rows, Error>> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let socket = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    socket.set_read_timeout(Some(Duration::from_mins(2)))?;
    socket.set_nodelay(true)?;
    let mut reader = BufReader::new(&socket);

    let mut startup = 196_608_u32.to_be_bytes().to_vec(); // protocol 3.0
    for word in ["user", "snorri", "database", database, "application_name", "snorri-stack"] {
        startup.extend(word.as_bytes());
        startup.push(0);
    }
    startup.push(0);
    send(&socket, None, &startup)?;
    if let Err(refusal) = until_ready(&mut reader)? {
        return Ok(Err(refusal));
    }
    let mut text = sql.as_bytes().to_vec();
    text.push(0);
    send(&socket, Some(b'Q'), &text)?;
    let answer = until_ready(&mut reader)?;
    send(&socket, Some(b'X'), &[])?;
    Ok(answer)
}

fn send(mut socket: &TcpStream, kind: Option<u8>, body: &[u8]) -> io::Result<()> {
    let length = u32::try_from(body.len() + 4).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut message: Vec<u8> = kind.into_iter().collect();
    message.extend(length.to_be_bytes());
    message.extend(body);
    socket.write_all(&message)
}

/// Reads up to the server's "ready for query"; a refusal before that is kept and answered.
fn until_ready(reader: &mut impl Read) -> io::Result<Result<Rows, Error>> {
    let (mut rows, mut refusal) = (Rows::new(), None);
    loop {
        let mut head = [0; 5];
        if let Err(error) = reader.read_exact(&mut head) {
            // After a fatal refusal the server closes the connection without a word.
            return refusal.map_or(Err(error), |refusal| Ok(Err(refusal)));
        }
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let mut body = vec![0; length.saturating_sub(4)];
        reader.read_exact(&mut body)?;
        match head[0] {
            b'Z' => return Ok(refusal.map_or(Ok(rows), Err)),
            b'E' => refusal = Some(refused(&body)),
            b'D' => rows.push(row(&body).ok_or(io::ErrorKind::InvalidData)?),
            b'R' if body != [0; 4] => {
                return Err(io::Error::other("the server asks for a password; a private one never does"));
            }
            _ => {}
        }
    }
}

fn refused(body: &[u8]) -> Error {
    let field = |wanted: u8| {
        let mut fields = body.split(|byte| *byte == 0);
        let found = fields.find(|field| field.first() == Some(&wanted));
        found.map(|field| String::from_utf8_lossy(&field[1..]).into_owned()).unwrap_or_default()
    };
    Error::Sql { code: field(b'C'), message: field(b'M') }
}

fn row(body: &[u8]) -> Option<Vec<Option<String>>> {
    let (count, mut rest) = body.split_at_checked(2)?;
    let count = u16::from_be_bytes([count[0], count[1]]);
    let mut columns = Vec::with_capacity(count.into());
    for _ in 0..count {
        let (length, after) = rest.split_first_chunk::<4>()?;
        rest = after;
        columns.push(match usize::try_from(i32::from_be_bytes(*length)) {
            Err(_) => None,
            Ok(length) => {
                let (value, after) = rest.split_at_checked(length)?;
                rest = after;
                Some(String::from_utf8_lossy(value).into_owned())
            }
        });
    }
    Some(columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_holds_values_nulls_and_nothing_more() {
        let body = [0, 2, 0, 0, 0, 2, b'h', b'i', 255, 255, 255, 255];
        assert_eq!(row(&body), Some(vec![Some("hi".into()), None]));
        assert_eq!(row(&body[..9]), None, "a cut row is refused");
    }

    #[test]
    fn a_refusal_keeps_code_and_message() {
        let Error::Sql { code, message } = refused(b"SERROR\0C42P01\0Mno such table\0\0") else { panic!() };
        assert_eq!((code.as_str(), message.as_str()), ("42P01", "no such table"));
    }
}
