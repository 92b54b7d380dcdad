//! `biplane node drain`: says it, and waits until the sessions are closed.

use std::time::Duration;

use status::doc::{Doc, DrainState};
use status::{Client, Operation, Query};
use tokio::time::Instant;

use crate::Failure;
use crate::arguments::DrainArgs;
use crate::output::age;

/// How often the daemon is asked while waiting.
const POLL: Duration = Duration::from_millis(250);

pub(crate) async fn run(client: &Client, args: &DrainArgs) -> Result<(), Failure> {
    let said = client.operate(&Operation::Drain { force: args.force }).await?;
    eprintln!("biplane: {said}");
    if !args.wait {
        return Ok(());
    }
    let deadline = Instant::now() + args.timeout;
    let mut told = String::new();
    loop {
        let Doc::Status(status) = client.query(&Query::Status).await?.body else {
            return Err(Failure::Strange("no status in the daemon's answer".to_owned()));
        };
        let words = match status.drain {
            None => return Err(Failure::Strange("the drain was ended, or the daemon has restarted".to_owned())),
            Some(drain) if drain.state == DrainState::Drained => return Ok(()),
            Some(drain) => drain.why.unwrap_or_else(|| "peers have time to move away".to_owned()),
        };
        if words != told {
            eprintln!("biplane: {words}");
            told.clone_from(&words);
        }
        if Instant::now() >= deadline {
            return Err(Failure::TimedOut(format!("not drained after {}: {words}", age(args.timeout.as_secs_f64()))));
        }
        tokio::time::sleep(POLL).await;
    }
}
