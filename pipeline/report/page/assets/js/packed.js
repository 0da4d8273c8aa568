// Reads what Python packed: base64, deflated, a header in JSON and typed arrays. See `columns.py`.

const KINDS = { i8: Int8Array, u8: Uint8Array, i16: Int16Array, i32: Int32Array, f32: Float32Array, f64: Float64Array };

// One column: `values` has an entry a row; of a column of texts it is the number of the text, -1 for none.
class Column {
  constructor(values, texts = null) {
    this.values = values;
    this.texts = texts;
  }

  // Text or number of a row, null where there is none.
  at(row) {
    const value = this.values[row];
    if (this.texts !== null) return value < 0 ? null : this.texts[value];
    return Number.isNaN(value) || value === -1 ? null : value;
  }
}

export function column(values, texts = null) {
  return new Column(values, texts);
}

async function inflated(id) {
  const binary = atob(document.getElementById(id).textContent.trim());
  const bytes = new Uint8Array(binary.length);
  for (let place = 0; place < binary.length; place += 1) bytes[place] = binary.charCodeAt(place);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).arrayBuffer();
}

export async function inflatedText(id) {
  return new TextDecoder().decode(await inflated(id));
}

// Header, and table name -> column name -> column.
export async function unpacked(id) {
  const buffer = await inflated(id);
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const start = 4 + length;
  const tables = {};
  for (const [name, described] of Object.entries(header.tables)) {
    const columns = {};
    for (const [key, place] of Object.entries(described.columns)) {
      const Kind = KINDS[place.kind];
      columns[key] = new Column(new Kind(buffer, start + place.offset, described.rows), place.texts ?? null);
    }
    tables[name] = { rows: described.rows, ...columns };
  }
  return { header, tables };
}
