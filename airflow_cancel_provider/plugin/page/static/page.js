// Cancel and refresh without leaving the page. What comes from the server is put in as text, never as HTML.
"use strict";
(function () {
  const main = document.querySelector("main");
  const rows = Array.from(document.querySelectorAll("tr[data-job]"));
  const POLL_SECONDS = 3;
  const POLL_FOR_SECONDS = 300;

  // ---- times, in the time zone of the reader
  for (const time of document.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    time.title = at.toLocaleString();
    if ("absolute" in time.dataset) time.textContent = at.toLocaleString();
  }

  // ---- links that leave the frame: Airflow's frame allows neither popups nor the top window to be changed,
  // so the page around it opens them.
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-leave]");
    if (!link || window.parent === window) return;
    try {
      const outside = window.parent.document.createElement("a");
      outside.href = link.href;
      outside.target = link.target === "_blank" || event.ctrlKey || event.metaKey ? "_blank" : "_self";
      outside.rel = "noopener noreferrer";
      window.parent.document.body.append(outside);
      outside.click();
      outside.remove();
      event.preventDefault();
    } catch (_error) {
      // another site's page: let the browser do what it can
    }
  });
  if (!main || !main.dataset.token) return;

  // ---- filters
  const filters = document.querySelector("[data-filters]");
  if (filters) {
    filters.addEventListener("change", (event) => {
      if (event.target.matches("select, input[type=checkbox]")) filters.requestSubmit();
    });
    filters.addEventListener("submit", () => {
      // Only what is filled in stands in the address.
      for (const field of filters.querySelectorAll("input, select")) if (!field.value) field.disabled = true;
    });
    window.addEventListener("pageshow", () => {
      for (const field of filters.querySelectorAll("input, select")) field.disabled = false;
    });
  }

  // ---- requests
  const notice = document.querySelector("[data-notice]");
  function say(text, isBad) {
    notice.textContent = text;
    notice.hidden = !text;
    notice.classList.toggle("bad", Boolean(isBad));
  }

  async function post(url, some) {
    const jobs = some.map((row) => ({
      job: row.dataset.job,
      dag_id: row.dataset.dag,
      run_id: row.dataset.run,
      task_id: row.dataset.task,
      map_index: Number(row.dataset.map),
    }));
    let answer;
    try {
      answer = await fetch(url, {
        method: "POST",
        credentials: "same-origin",
        headers: { "Content-Type": "application/json", "X-Remote-Jobs-Token": main.dataset.token },
        body: JSON.stringify({ jobs }),
      });
    } catch (_error) {
      throw new Error("Airflow did not answer. Try again.");
    }
    let values = {};
    try {
      values = await answer.json();
    } catch (_error) {
      // a proxy's own page
    }
    if (answer.status === 401) throw new Error("You are not logged in any more. Load the page again.");
    if (!answer.ok) throw new Error(String(values.detail || `Airflow answered ${answer.status}.`));
    return values;
  }

  // ---- states
  const words = (state) => state.charAt(0) + state.slice(1).toLowerCase();
  const ENDED = new Set(["SUCCEEDED", "FAILED", "CANCELLED", "GONE"]);

  function show(row, seen) {
    const badge = row.querySelector("[data-state]");
    const live = row.querySelector("[data-live]");
    const story = row.querySelector("[data-story]");
    if (seen.trouble) {
      live.textContent = "could not be read";
      return;
    }
    if (!seen.state) return;
    const isCancelling = "cancelling" in row.dataset && !ENDED.has(seen.state) && !seen.is_over;
    const state = isCancelling ? "CANCELLING" : seen.state;
    badge.textContent = state === "GONE" ? "Unknown to the service" : words(state);
    badge.className = `state ${state.toLowerCase()}`;
    live.textContent = seen.service_state && seen.service_state !== seen.state ? `service: ${seen.service_state}` : "";
    if (seen.asked_by && "cancelling" in row.dataset) {
      if (seen.state === "CANCELLED") story.textContent = `Cancelled by ${seen.asked_by} in the page Remote jobs`;
      else story.textContent = seen.line ? `Cancelled by ${seen.asked_by}: ${seen.line}` : `${seen.asked_by} asked for its cancel.`;
    }
    if (seen.story && !seen.asked_by) story.textContent = seen.story;
    const button = row.querySelector("[data-cancel]");
    if (ENDED.has(seen.state) && seen.state !== "GONE") {
      if (button) button.remove();
      const orphan = row.querySelector(".orphan");
      if (orphan) orphan.remove();
      countOrphans();
    }
    if (ENDED.has(seen.state) || seen.is_over) delete row.dataset.cancelling;
  }

  // The orphans on top stay where they are, with what became of them.
  const orphans = document.querySelector("[data-orphans]");
  const marked = () => orphans.querySelectorAll("tr .orphan").length;
  const shown = orphans ? marked() : 0;
  function countOrphans() {
    if (!orphans) return;
    const left = Number(orphans.dataset.orphans) - shown + marked();
    orphans.querySelector("h2").textContent = left === 1 ? "1 orphan" : `${left || "No"} orphans`;
    orphans.querySelector("p").hidden = !left;
  }

  const count = (jobs) => (jobs === 1 ? "The state of 1 job" : `The states of ${jobs} jobs`);

  async function refresh(some) {
    const found = (await post(main.dataset.statesUrl, some)).states;
    for (const row of some) if (found[row.dataset.job]) show(row, found[row.dataset.job]);
    const troubles = Object.values(found).map((seen) => seen.trouble).filter(Boolean);
    // Jobs of one connection share their trouble: it is said once.
    if (troubles.length) say(`${count(troubles.length)} could not be read. ${[...new Set(troubles)].join(" ")}`, true);
    return troubles.length === 0;
  }

  const button = document.querySelector("[data-refresh]");
  if (button) {
    button.addEventListener("click", async () => {
      button.disabled = true;
      say("Asking the services …");
      try {
        if (await refresh(rows)) say("The states are up to date.");
      } catch (error) {
        say(error.message, true);
      } finally {
        button.disabled = false;
      }
    });
  }

  // ---- cancel
  const dialog = document.querySelector("[data-dialog]");
  let asked = null;
  for (const each of rows) {
    const cancel = each.querySelector("[data-cancel]");
    if (!cancel) continue;
    cancel.addEventListener("click", () => {
      asked = each;
      dialog.querySelector("[data-dialog-job]").textContent = each.dataset.job;
      dialog.querySelector("[data-dialog-task]").textContent = each.dataset.words;
      dialog.showModal();
    });
  }
  dialog.querySelector("[data-keep]").addEventListener("click", () => dialog.close());
  dialog.querySelector("[data-confirm]").addEventListener("click", async () => {
    dialog.close();
    const same = rows.filter((row) => row.dataset.job === asked.dataset.job);
    const buttons = same.map((row) => row.querySelector("[data-cancel]")).filter(Boolean);
    for (const each of buttons) each.disabled = true;
    try {
      await post(main.dataset.cancelUrl, [asked]);
    } catch (error) {
      for (const each of buttons) each.disabled = false;
      say(error.message, true);
      return;
    }
    for (const each of buttons) each.remove();
    say(`The cancel of ${asked.dataset.job} is requested. Its row shows when the job has ended.`);
    // The button that had the focus is gone.
    asked.querySelector("[data-state]").focus();
    for (const row of same) {
      row.dataset.cancelling = "";
      show(row, { state: "CANCELLING" });
    }
    watch();
  });

  // ---- a cancel that is under way is watched until its job has ended
  let timer = null;
  let until = 0;
  async function poll() {
    timer = null;
    const under = rows.filter((row) => "cancelling" in row.dataset);
    if (!under.length || Date.now() > until) return;
    try {
      await refresh(under);
    } catch (_error) {
      // asked again in a moment
    }
    timer = setTimeout(poll, POLL_SECONDS * 1000);
  }
  function watch() {
    until = Date.now() + POLL_FOR_SECONDS * 1000;
    if (timer === null) timer = setTimeout(poll, 1000);
  }
  if (rows.some((row) => "cancelling" in row.dataset)) watch();
})();
