// Slack's names for the emoji that alerts and bots commonly use. An unknown name stays visible as :name:.

const TABLE = `
+1 👍|thumbsup 👍|-1 👎|thumbsdown 👎|white_check_mark ✅|heavy_check_mark ✔️|ballot_box_with_check ☑️|x ❌|negative_squared_cross_mark ❎
warning ⚠️|rotating_light 🚨|hourglass ⌛|hourglass_flowing_sand ⏳|eyes 👀|mag 🔍|mag_right 🔎|wrench 🔧|hammer 🔨|hammer_and_wrench 🛠️
gear ⚙️|arrows_counterclockwise 🔄|repeat 🔁|information_source ℹ️|large_green_circle 🟢|green_circle 🟢|red_circle 🔴|large_red_circle 🔴
large_yellow_circle 🟡|yellow_circle 🟡|large_orange_circle 🟠|large_blue_circle 🔵|large_purple_circle 🟣|white_circle ⚪|black_circle ⚫
no_entry ⛔|no_entry_sign 🚫|memo 📝|pencil 📝|bulb 💡|link 🔗|zzz 💤|fire 🔥|boom 💥|collision 💥|bell 🔔|no_bell 🔕|lock 🔒|unlock 🔓|key 🔑
rocket 🚀|tada 🎉|sparkles ✨|star ⭐|heart ❤️|heavy_heart_exclamation ❣️|question ❓|grey_question ❔|exclamation ❗|heavy_exclamation_mark ❗
bangbang ‼️|speech_balloon 💬|thought_balloon 💭|robot_face 🤖|robot 🤖|bug 🐛|ambulance 🚑|pill 💊|stethoscope 🩺|adhesive_bandage 🩹
hospital 🏥|package 📦|whale 🐳|cloud ☁️|lightning 🌩️|chart_with_upwards_trend 📈|chart_with_downwards_trend 📉|bar_chart 📊|clipboard 📋|calendar 📆|date 📅
clock1 🕐|clock3 🕒|alarm_clock ⏰|stopwatch ⏱️|timer_clock ⏲️|snooze 💤|pushpin 📌|round_pushpin 📍|paperclip 📎|page_facing_up 📄|scroll 📜
books 📚|book 📖|bookmark 🔖|label 🏷️|file_folder 📁|open_file_folder 📂|wastebasket 🗑️|shield 🛡️|construction 🚧|vertical_traffic_light 🚦
octagonal_sign 🛑|stop_sign 🛑|raised_hand ✋|raising_hand 🙋|hand ✋|wave 👋|pray 🙏|clap 👏|raised_hands 🙌|muscle 💪|point_right 👉|point_left 👈|point_up ☝️
point_down 👇|ok_hand 👌|v ✌️|thinking_face 🤔|thinking 🤔|smile 😄|grinning 😀|slightly_smiling_face 🙂|neutral_face 😐|disappointed 😞|cry 😢|sob 😭
scream 😱|sweat_smile 😅|joy 😂|sunglasses 😎|shrug 🤷|face_palm 🤦|ghost 👻|skull 💀|100 💯|arrow_up ⬆️|arrow_down ⬇️|arrow_left ⬅️|arrow_right ➡️
arrow_upper_right ↗️|arrow_lower_right ↘️|leftwards_arrow_with_hook ↩️|rewind ⏪|fast_forward ⏩|arrow_forward ▶️|pause_button ⏸️
double_vertical_bar ⏸️|black_square_for_stop ⏹️|track_next ⏭️|heavy_plus_sign ➕|heavy_minus_sign ➖|small_blue_diamond 🔹|small_orange_diamond 🔸
large_green_square 🟩|large_red_square 🟥|large_yellow_square 🟨|white_medium_square ◻️|email 📧|envelope ✉️|incoming_envelope 📨|inbox_tray 📥
outbox_tray 📤|satellite 🛰️|electric_plug 🔌|battery 🔋|computer 💻|desktop_computer 🖥️|floppy_disk 💾|cd 💿|globe_with_meridians 🌐|test_tube 🧪
microscope 🔬|telescope 🔭|dna 🧬|recycle ♻️|twisted_rightwards_arrows 🔀|checkered_flag 🏁|triangular_flag_on_post 🚩|white_flag 🏳️|crown 👑|trophy 🏆
snail 🐌|turtle 🐢|octopus 🐙|ship 🚢|anchor ⚓|helicopter 🚁|fire_engine 🚒|police_car 🚓|busts_in_silhouette 👥|bust_in_silhouette 👤|family 👪
one 1️⃣|two 2️⃣|three 3️⃣|four 4️⃣|five 5️⃣|six 6️⃣|seven 7️⃣|eight 8️⃣|nine 9️⃣|keycap_ten 🔟|zero 0️⃣|new 🆕|ok 🆗|up 🆙|sos 🆘|free 🆓
`;

export const EMOJI = new Map(
  TABLE.trim()
    .split(/[|\n]/)
    .map((entry) => entry.split(" ")),
);

/** The character for a name without colons, or null. A skin tone is left out. */
export function emoji(name) {
  return EMOJI.get(String(name).split("::")[0]) ?? null;
}
