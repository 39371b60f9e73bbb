/* In: the table of settings, or the values in force. Out: those as text: KEY=value lines, docs/settings.md, the manual
 * page chatbox.conf(5). Why: what is written about the settings comes from the table that is obeyed. */
#include "config.h"

#include "config_impl.h"
#include "roff.h"

#include <string.h>

/* What holds for all of them, in Markdown of which a manual page needs only to lose the marks. */
static const char rules[] =
  "Each setting is looked up in the environment, then in the file given with `--config` (lines of `KEY=value`,\n"
  "`#` starts a comment line, the last line of a key counts), then here. In both a value may stand in quotes, which "
  "are\n"
  "no part of it.\n"
  "An unknown key in the file, a value outside its bounds and a placeholder nobody replaced stop the start.\n"
  "`chatbox config` prints what is in force.\n\n"
  "A duration is written `250ms`, `15s`, `5m` or `1h30m`; a size `4096`, `64KiB`, `1MiB` or `1GiB`; a boolean\n"
  "`true`, `yes`, `on`, `1` or their opposites.\n"
  "The value of a *secret* is never printed; keep it in the environment or in a file only the server may read. A "
  "name\n"
  "with `_FILE` behind it, such as `JWT_SECRET_FILE`, names a file the secret is read from at start, as container\n"
  "platforms mount them (at most 64KiB, one newline at its end is dropped). Placeholders of templates such as\n"
  "`smtp-password` or `change me` are refused for every secret; `chatbox check-secrets` looks for them in "
  "manifests.\n";

static void values_print(const struct config *c, FILE *out) {
  for (int s = 0; s < SETTING_COUNT; s++) {
    const char *source, *text = config_text(c, s, &source);
    if (strcmp(source, "default") != 0)
      fprintf(out, "# from the %s\n", source);
    /* Quotes keep what the reader would take for blanks or quotes of its own. */
    bool quote = *text && (strchr(" \"'", text[0]) || text[strlen(text) - 1] == ' ');
    fprintf(out, "%s=%s%s%s\n", setting_row(s)->name, quote ? "\"" : "", text, quote ? "\"" : "");
  }
}

static void durations_print(FILE *out) {
  fputs(
    "\n## How long is so long?\n\n"
    "No wait ends earlier than its setting says; on a busy machine it may end later, and what is looked at now and\n"
    "then (connections once a second, or as often as half of the shortest of their times) up to that much later.\n"
    "Waits do not follow the wall clock when it is set. Each of these times is waited for in a test of `spec/e2e`;\n"
    "times that are no settings are in [limits.md](limits.md).\n\n"
    "| Name | File | Test |\n|---|---|---|\n",
    out);
  for (int s = 0; s < SETTING_COUNT; s++) {
    const char *title, *file = config_duration_test(s, &title);
    if (file)
      fprintf(out, "| `%s` | `%s_test.mjs` | %s |\n", setting_row(s)->name, file, title);
  }
}

static void manual_print(FILE *out) {
  fprintf(out, "# Settings\n\n%s\n", rules);
  fputs("| Name | Type | Default | Bounds | Meaning |\n"
        "|---|---|---|---|---|\n",
        out);
  for (int s = 0; s < SETTING_COUNT; s++) {
    const struct setting_row *row = setting_row(s);
    char bounds[3 * VALUE_TEXT_MAX] = "";
    if (row->type != SETTING_BOOL)
      setting_bounds(s, bounds);
    fprintf(out, "| `%s` | %s%s | %s%s%s | %s | %s |\n", row->name, value_type_name(row->type),
            row->secret ? ", *secret*" : "", *row->fallback ? "`" : "", *row->fallback ? row->fallback : "(empty)",
            *row->fallback ? "`" : "", bounds, row->help);
  }
  durations_print(out);
  fputs("\nOther names for the same setting:", out);
  const char *between = "";
  for (int s = 0; s < SETTING_COUNT; s++)
    if (setting_alias(s)) {
      fprintf(out, "%s `%s` is `%s`", between, setting_alias(s), setting_row(s)->name);
      between = ",";
    }
  fputs(".\n", out);
}

/* --- the manual page ---------------------------------------------------------------------------------------------- */

static void rules_roff(FILE *out) {
  char line[256];
  size_t len = 0;
  for (const char *p = rules; *p; p++) {
    if (*p != '\n' && *p != '`' && *p != '*' && len < sizeof line - 1)
      line[len++] = *p;
    if (*p != '\n')
      continue;
    line[len] = '\0';
    if (len > 0)
      roff_line(line, out);
    else
      fputs(".PP\n", out);
    len = 0;
  }
}

static void row_roff(enum setting s, FILE *out) {
  const struct setting_row *row = setting_row(s);
  char facts[256], bounds[3 * VALUE_TEXT_MAX] = "";
  if (row->type != SETTING_BOOL)
    setting_bounds(s, bounds);
  snprintf(facts, sizeof facts, "%s%s%s%s. Default: %s.", value_type_name(row->type), row->secret ? " (secret)" : "",
           *bounds ? ", " : "", bounds, *row->fallback ? row->fallback : "empty");
  fputs(".TP\n.B ", out);
  roff_put(row->name, out);
  fputs("\n", out);
  roff_line(row->help, out);
  fputs(".br\n", out);
  roff_line(facts, out);
}

void config_roff(FILE *out) {
  fputs(".TH CHATBOX.CONF 5 \"\" \"chatbox " CHATBOX_VERSION "\" \"File formats\"\n"
        ".SH NAME\nchatbox.conf \\- settings of the chat server\n"
        ".SH DESCRIPTION\n",
        out);
  rules_roff(out);
  fputs(".SH SETTINGS\n", out);
  for (int s = 0; s < SETTING_COUNT; s++)
    row_roff(s, out);
  fputs(".SH SEE ALSO\n.BR chatbox (1)\n", out);
}

void config_print(const struct config *c, FILE *out) {
  if (c)
    values_print(c, out);
  else
    manual_print(out);
}
