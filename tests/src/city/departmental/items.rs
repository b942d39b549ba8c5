//! The items of each kind of rows. Order is id order; ids start at 1.

use hutong_schema::catalogue::{DataType, Semantic, UpdateCycle};

use super::Template;

/// What a kind of rows is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject {
    /// Name of the resource, without year and place.
    pub(crate) name: &'static str,
    /// One sentence.
    pub(crate) summary: &'static str,
    /// How often the provider brings it up to date.
    pub(crate) cycle: UpdateCycle,
    /// The items in id order.
    pub(crate) items: &'static [ItemSpec],
}

/// One item.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ItemSpec {
    pub(crate) name: &'static str,
    pub(crate) label: &'static str,
    pub(crate) data_type: DataType,
    /// Longest value in characters, 0 for no limit.
    pub(crate) length: u32,
    pub(crate) required: bool,
    pub(crate) key: bool,
    pub(crate) semantic: Option<Semantic>,
    /// 0 open to 3 personal and sensitive.
    pub(crate) sensitivity: u8,
}

impl ItemSpec {
    const fn key(mut self) -> Self {
        self.key = true;
        self.required()
    }

    const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    const fn means(mut self, semantic: Semantic) -> Self {
        self.semantic = Some(semantic);
        self
    }

    const fn personal(mut self) -> Self {
        self.sensitivity = 2;
        self
    }

    const fn sensitive(mut self) -> Self {
        self.sensitivity = 3;
        self
    }
}

const fn item(
    name: &'static str,
    label: &'static str,
    data_type: DataType,
    length: u32,
) -> ItemSpec {
    ItemSpec {
        name,
        label,
        data_type,
        length,
        required: false,
        key: false,
        semantic: None,
        sensitivity: 0,
    }
}

const fn citizen_id() -> ItemSpec {
    item("sfzh", "公民身份号码", DataType::Text, 18).means(Semantic::CitizenId).sensitive()
}

const fn credit_code() -> ItemSpec {
    item("tyshxydm", "统一社会信用代码", DataType::Text, 18).means(Semantic::CreditCode)
}

const fn division() -> ItemSpec {
    item("qh", "行政区划代码", DataType::Text, 6).means(Semantic::Division)
}

pub(super) fn subject(template: Template) -> Subject {
    use UpdateCycle as Cycle;
    let (name, summary, cycle, items) = match template {
        Template::Population => {
            ("人口基础信息", "户籍和常住人口的基础信息。", Cycle::Daily, POPULATION)
        }
        Template::LegalPerson => {
            ("法人单位基础信息", "登记在册法人单位的基础信息。", Cycle::Daily, LEGAL_PERSON)
        }
        Template::Geospatial => {
            ("自然资源和空间地理基础信息", "地标、线路和地块。", Cycle::Yearly, GEOSPATIAL)
        }
        Template::Permit => ("行政许可决定", "已作出的行政许可决定。", Cycle::Daily, PERMIT),
        Template::Vehicle => ("机动车登记", "机动车登记信息。", Cycle::Daily, VEHICLE),
        Template::Insurance => ("社会保险缴费", "个人按月缴费记录。", Cycle::Monthly, INSURANCE),
        Template::MedicalInstitution => {
            ("医疗机构", "医疗机构执业登记。", Cycle::Quarterly, MEDICAL)
        }
        Template::SchoolRoll => ("学籍", "在校学生学籍。", Cycle::Yearly, SCHOOL_ROLL),
        Template::Subsidy => ("补贴发放", "按批次发放到人的补贴。", Cycle::Monthly, SUBSIDY),
        Template::Licence => ("证照登记", "颁发给机构的证照。", Cycle::Weekly, LICENCE),
        Template::Penalty => ("行政处罚决定", "已作出的行政处罚决定。", Cycle::Daily, PENALTY),
        Template::WaterMeter => ("水表读数", "按抄表日的水表读数。", Cycle::Monthly, WATER_METER),
        Template::BusStop => ("公交站点", "公交站点的位置和线路数。", Cycle::Quarterly, BUS_STOP),
        Template::Monitoring => ("监测数据", "监测站点的整点数据。", Cycle::RealTime, MONITORING),
        Template::Construction => {
            ("建设项目", "审批立项的建设项目。", Cycle::Monthly, CONSTRUCTION)
        }
    };
    Subject { name, summary, cycle, items }
}

// The first three have the ids and names of their library's fields.

const POPULATION: &[ItemSpec] = &[
    citizen_id().key(),
    item("xm", "姓名", DataType::Text, 50).means(Semantic::Name).required().personal(),
    item("xb", "性别", DataType::Text, 1).means(Semantic::Sex).personal(),
    item("mz", "民族", DataType::Text, 2).means(Semantic::Ethnicity).personal(),
    item("csrq", "出生日期", DataType::Date, 8).means(Semantic::BirthDate).required().personal(),
    item("hjqh", "户籍行政区划", DataType::Text, 6).means(Semantic::Division).personal(),
    item("hjdz", "户籍地址", DataType::Text, 200).means(Semantic::Address).sensitive(),
    item("xzdz", "现住地址", DataType::Text, 200).means(Semantic::Address).sensitive(),
    item("lxdh", "联系电话", DataType::Text, 20).means(Semantic::Phone).sensitive(),
    item("hyzk", "婚姻状况", DataType::Text, 2).sensitive(),
];

const LEGAL_PERSON: &[ItemSpec] = &[
    credit_code().key(),
    item("mc", "名称", DataType::Text, 200).means(Semantic::Name).required(),
    item("fddbr", "法定代表人", DataType::Text, 50).means(Semantic::Name).personal(),
    item("zczb", "注册资本", DataType::Money, 20),
    item("clrq", "成立日期", DataType::Date, 8),
    division(),
    item("dz", "住所", DataType::Text, 200).means(Semantic::Address),
    item("zt", "登记状态", DataType::Text, 10),
];

const GEOSPATIAL: &[ItemSpec] = &[
    item("bh", "要素编号", DataType::Text, 32).key(),
    item("mc", "名称", DataType::Text, 200).means(Semantic::Name).required(),
    item("lx", "要素类型", DataType::Text, 20),
    division(),
    item("geom", "几何图形", DataType::Geometry, 0).required(),
    item("mj", "面积", DataType::Number, 20),
];

const PERMIT: &[ItemSpec] = &[
    item("xkwsh", "许可文书号", DataType::Text, 50).key(),
    item("sqr", "申请人", DataType::Text, 200).required(),
    credit_code(),
    item("xkrq", "许可日期", DataType::Date, 8).required(),
    item("yxqz", "有效期至", DataType::Date, 8),
    item("sfje", "收费金额", DataType::Money, 16),
    item("sfyx", "是否有效", DataType::Logical, 1).required(),
    item("bz", "备注", DataType::Memo, 0),
];

const VEHICLE: &[ItemSpec] = &[
    item("hpzl", "号牌种类", DataType::Text, 2).key(),
    item("hphm", "号牌号码", DataType::Text, 15).key(),
    item("syr", "所有人", DataType::Text, 50).personal(),
    citizen_id(),
    item("djrq", "登记日期", DataType::Date, 8).required(),
    item("zbzl", "整备质量（千克）", DataType::Integer, 8),
    item("pl", "排量（升）", DataType::Float, 8),
    item("zt", "状态", DataType::Text, 10),
];

const INSURANCE: &[ItemSpec] = &[
    citizen_id().key(),
    item("jfny", "缴费年月", DataType::Text, 6).key(),
    credit_code(),
    item("jfjs", "缴费基数", DataType::Money, 16).required(),
    item("jfje", "缴费金额", DataType::Money, 16).required(),
    item("jnbl", "缴纳比例", DataType::Number, 8),
    item("dzsj", "到账时间", DataType::DateTime, 19),
];

const MEDICAL: &[ItemSpec] = &[
    item("jgbh", "机构编号", DataType::Text, 32).key(),
    item("mc", "机构名称", DataType::Text, 200).required(),
    credit_code(),
    item("fzr", "负责人", DataType::Text, 50).personal(),
    item("cws", "床位数", DataType::Integer, 8),
    item("jd", "经度", DataType::Double, 16),
    item("wd", "纬度", DataType::Double, 16),
    item("yb", "是否医保定点", DataType::Logical, 1).required(),
    item("fzrq", "发证日期", DataType::Date, 8),
    item("zlkm", "诊疗科目", DataType::Memo, 0),
];

const SCHOOL_ROLL: &[ItemSpec] = &[
    item("xjh", "学籍号", DataType::Text, 32).key(),
    item("xm", "姓名", DataType::Text, 50).required().personal(),
    citizen_id().required(),
    item("xb", "性别", DataType::Text, 1).means(Semantic::Sex).personal(),
    item("nj", "年级", DataType::Integer, 2),
    item("rxrq", "入学日期", DataType::Date, 8),
    item("zd", "是否在读", DataType::Logical, 1).required(),
];

const SUBSIDY: &[ItemSpec] = &[
    citizen_id().key(),
    item("ffpc", "发放批次", DataType::Text, 20).key(),
    item("xm", "姓名", DataType::Text, 50).personal(),
    item("btje", "补贴金额", DataType::Money, 16).required(),
    item("ffsj", "发放时间", DataType::DateTime, 19).required(),
    item("bz", "备注", DataType::Memo, 0),
];

const LICENCE: &[ItemSpec] = &[
    item("zzbh", "证照编号", DataType::Text, 50).key(),
    item("czr", "持证单位", DataType::Text, 200).required(),
    item("zzjgdm", "组织机构代码", DataType::Text, 10).means(Semantic::OrganisationCode),
    item("bfrq", "颁发日期", DataType::Date, 8).required(),
    item("yxqz", "有效期至", DataType::Date, 8),
    item("zx", "是否注销", DataType::Logical, 1),
];

const PENALTY: &[ItemSpec] = &[
    item("wsh", "决定书文号", DataType::Text, 50).key(),
    item("dsr", "当事人", DataType::Text, 200).required(),
    credit_code(),
    item("fkje", "罚款金额", DataType::Money, 16),
    item("jdsj", "决定时间", DataType::DateTime, 19).required(),
    item("wfss", "违法事实", DataType::Memo, 0),
    item("zx", "是否执行", DataType::Logical, 1),
];

const WATER_METER: &[ItemSpec] = &[
    item("sbh", "水表号", DataType::Text, 20).key(),
    item("cbrq", "抄表日期", DataType::Date, 8).key(),
    item("ds", "读数（立方米）", DataType::Number, 16).required(),
    item("ll", "平均流量", DataType::Double, 16),
    item("yc", "是否异常", DataType::Logical, 1),
    division(),
];

const BUS_STOP: &[ItemSpec] = &[
    item("zdbh", "站点编号", DataType::Text, 20).key(),
    item("mc", "站点名称", DataType::Text, 100).required(),
    item("wz", "位置", DataType::Geometry, 0).required(),
    item("xls", "线路数", DataType::Integer, 4),
    division(),
];

const MONITORING: &[ItemSpec] = &[
    item("zdbh", "站点编号", DataType::Text, 20).key(),
    item("jcsj", "监测时间", DataType::DateTime, 19).key(),
    item("wd", "温度", DataType::Double, 12),
    item("pm25", "细颗粒物", DataType::Float, 12),
    item("ph", "酸碱度", DataType::Number, 8),
    item("dj", "等级", DataType::Integer, 2),
    item("yx", "是否有效", DataType::Logical, 1).required(),
];

const CONSTRUCTION: &[ItemSpec] = &[
    item("xmdm", "项目代码", DataType::Text, 32).key(),
    item("xmmc", "项目名称", DataType::Text, 200).required(),
    credit_code(),
    item("ztz", "总投资", DataType::Money, 20),
    item("jzmj", "建筑面积", DataType::Number, 16),
    item("kgrq", "开工日期", DataType::Date, 8),
    item("fw", "用地范围", DataType::Geometry, 0),
    item("jsnr", "建设内容", DataType::Memo, 0),
];
