//! Finds or installs the two programs, starts a private stack in the folder given, shows it, and stops it.

use std::sync::Arc;
use std::time::Instant;

use snorri_stack::{Options, Stack};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::args().nth(1).unwrap_or_else(|| ".snorri".into());
    let options = Options { say: Arc::new(|line| println!("{line}")), ..Options::new(dir) };
    let start = Instant::now();
    let stack = match Stack::start(&options) {
        Ok(stack) => stack,
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(1);
        }
    };
    println!("ready after {:.1} s, data in {}", start.elapsed().as_secs_f32(), stack.data().display());
    for row in stack.postgres.query("postgres", "SELECT version(), current_user")? {
        println!("{row:?}");
    }
    drop(stack);
    println!("stopped");
    Ok(())
}
