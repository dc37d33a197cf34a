//! `snorri health`: a probe without a shell in the image.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The address that is asked [default: /readyz at the admin address]
    #[arg(long)]
    url: Option<String>,
    /// Where probes and metrics listen
    #[arg(long, env = "SNORRI_ADMIN_LISTEN", default_value = "127.0.0.1:9090")]
    admin_listen: SocketAddr,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let url = args.url.clone().unwrap_or_else(|| ready_url(args.admin_listen));
    let ask = || -> Result<(u16, String), reqwest::Error> {
        // The replica next door: no proxy of the environment's has a say in that.
        let client =
            reqwest::blocking::Client::builder().timeout(Duration::from_secs(5)).no_proxy().build()?;
        let answer = client.get(&url).send()?;
        Ok((answer.status().as_u16(), answer.text()?))
    };
    match ask() {
        Ok((200, text)) => {
            println!("{}", text.trim());
            ExitCode::SUCCESS
        }
        Ok((status, text)) => super::fail(format!("{url} answered {status}: {}", text.trim())),
        Err(error) => super::fail(format!("{url}: {error}")),
    }
}

/// What listens everywhere is asked here.
fn ready_url(listen: SocketAddr) -> String {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    format!("http://{}/readyz", SocketAddr::new(ip, listen.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_listens_everywhere_is_asked_here() {
        let url = |text: &str| ready_url(text.parse().expect("an address"));
        assert_eq!(url("0.0.0.0:9090"), "http://127.0.0.1:9090/readyz");
        assert_eq!(url("[::]:9090"), "http://[::1]:9090/readyz");
        assert_eq!(url("10.0.0.7:9090"), "http://10.0.0.7:9090/readyz");
    }
}
