// Unpacks the browser of @sparticuz/chromium into TMPDIR, with the libraries that it has for a machine without any: the
// package unpacks those on Amazon Linux alone, so this says that it is there.
process.env.AWS_EXECUTION_ENV = "AWS_Lambda_nodejs22.x";
const { default: chromium } = await import("@sparticuz/chromium");
console.log(await chromium.executablePath());
