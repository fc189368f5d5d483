//! The Lambda function `start-bulk`.

fn main() -> Result<(), shared::Error> {
    shared::http::serve::<start_bulk::StartBulk>()
}
