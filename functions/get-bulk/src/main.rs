//! The Lambda function `get-bulk`.

fn main() -> Result<(), shared::Error> {
    shared::http::serve::<get_bulk::GetBulk>()
}
