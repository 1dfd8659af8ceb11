// While the page is looked at, the item stays ours.

export function renewLease(form, page) {
  const renew = async () => {
    if (document.visibilityState !== "visible" || form.dataset.sent !== undefined) return;
    const { token, assignment } = form.elements;
    const body = new URLSearchParams({ token: token.value, assignment: assignment.value });
    try {
      const response = await fetch("/label/renew", { method: "POST", body });
      if (response.status === 409) page.say("Somebody else may have got this item meanwhile.");
    } catch {
      // No connection: the lease lasts for two more of these.
    }
  };
  setInterval(renew, Number(form.dataset.renewS) * 1000);
  document.addEventListener("visibilitychange", renew);
}
