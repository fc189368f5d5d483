//! `bindery queues`: the first command to run when something is wrong.

use aws_sdk_sqs::types::QueueAttributeName;
use serde_json::json;

use crate::error::CliError;
use crate::output::Output;
use crate::stack::Stack;

/// Prints the approximate number of messages in each queue.
pub async fn run(stack: &Stack, output: Output) -> Result<(), CliError> {
    let sqs = stack.sqs();
    let mut rows = Vec::new();
    for queue in stack.queues() {
        let depths = match stack.find_queue(&queue)? {
            Some(url) => Some(depth(&sqs, url).await?),
            None => None,
        };
        let dead = match stack.find_dead_letters(&queue)? {
            Some(url) => Some(depth(&sqs, url).await?),
            None => None,
        };
        rows.push(json!({
            "queue": queue,
            "waiting": depths.map(|(waiting, _)| waiting),
            "working": depths.map(|(_, working)| working),
            "dead": dead.map(|(waiting, in_flight)| waiting + in_flight),
        }));
    }
    output.table(&["queue", "waiting", "working", "dead"], &rows);
    Ok(())
}

/// Returns the approximate numbers of visible messages and of messages in flight.
pub async fn depth(sqs: &aws_sdk_sqs::Client, url: &str) -> Result<(u64, u64), CliError> {
    let (visible, hidden) =
        (QueueAttributeName::ApproximateNumberOfMessages, QueueAttributeName::ApproximateNumberOfMessagesNotVisible);
    let asked =
        sqs.get_queue_attributes().queue_url(url).attribute_names(visible.clone()).attribute_names(hidden.clone());
    let attributes = asked.send().await.map_err(CliError::aws("SQS GetQueueAttributes"))?;
    let count = |name| attributes.attributes().and_then(|all| all.get(name)?.parse().ok()).unwrap_or(0);
    Ok((count(&visible), count(&hidden)))
}
