//! `snorri health`: a probe without a shell in the image.

use std::process::ExitCode;
use std::time::Duration;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The address that is asked
    #[arg(long, default_value = "http://127.0.0.1:9090/readyz")]
    url: String,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let ask = || -> Result<(u16, String), reqwest::Error> {
        let client = reqwest::blocking::Client::builder().timeout(Duration::from_secs(5)).build()?;
        let answer = client.get(&args.url).send()?;
        Ok((answer.status().as_u16(), answer.text()?))
    };
    match ask() {
        Ok((200, text)) => {
            println!("{}", text.trim());
            ExitCode::SUCCESS
        }
        Ok((status, text)) => super::fail(format!("{} answered {status}: {}", args.url, text.trim())),
        Err(error) => super::fail(format!("{}: {error}", args.url)),
    }
}
