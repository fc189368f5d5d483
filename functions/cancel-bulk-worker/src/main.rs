//! The Lambda function `cancel-bulk-worker`.

fn main() -> Result<(), shared::Error> {
    shared::worker::serve::<cancel_bulk_worker::CancelBulkWorker>()
}
