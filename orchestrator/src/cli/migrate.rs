//! `snorri migrate`.

use std::process::ExitCode;

use snorri::store::Postgres;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where Postgres is
    #[arg(long, env = "SNORRI_DATABASE_URL", hide_env_values = true)]
    database_url: String,
    /// Only check that the schema is new enough
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let runtime = match super::runtime() {
        Ok(runtime) => runtime,
        Err(error) => return super::fail(error),
    };
    let result = runtime.block_on(async {
        let store = Postgres::connect(&args.database_url, 1)?;
        if args.check { store.check_schema().await } else { store.migrate().await }
    });
    match result {
        Ok(()) => {
            println!("the schema is up to date");
            ExitCode::SUCCESS
        }
        Err(error) => super::fail(error.chain()),
    }
}
