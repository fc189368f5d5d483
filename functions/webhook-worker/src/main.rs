//! The Lambda function `webhook-worker`.

fn main() -> Result<(), shared::Error> {
    shared::worker::serve::<webhook_worker::WebhookWorker>()
}
