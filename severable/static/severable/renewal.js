// Renews the token of staff while a page of the admin is open, so that a form that takes longer than
// the token's lifetime can still be sent. The sign-in page sets the cookie anew as long as the
// session there lives; its redirect is not followed.
const renew = () => fetch("/admin/login/", { redirect: "manual" }).catch(() => {});
setInterval(renew, 60_000);
// Browsers slow down the timers of pages that are not seen.
document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && renew());
