//! The Lambda function `increment-bulk`.

fn main() -> Result<(), shared::Error> {
    shared::http::serve::<increment_bulk::IncrementBulk>()
}
