//! The Lambda function `start-bulk-worker`.

fn main() -> Result<(), shared::Error> {
    shared::worker::serve::<start_bulk_worker::StartBulkWorker>()
}
