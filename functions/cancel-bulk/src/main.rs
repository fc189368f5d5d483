//! The Lambda function `cancel-bulk`.

fn main() -> Result<(), shared::Error> {
    shared::http::serve::<cancel_bulk::CancelBulk>()
}
